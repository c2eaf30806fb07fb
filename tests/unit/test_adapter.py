"""A LoRA adapter beside its base: held against it before anything runs, put on it, and released with it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from registry_examples import commit_file, git, new_repository
from small_adapter import merged, write_adapter
from small_speaker import TEMPLATE, question, write_questions, write_speaker

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.model import Model
from gradatim.candidate.replaced import BASELINE
from gradatim.ci.laptop import Laptop
from gradatim.ci.occasion import extras_of
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, EnvironmentLacks, InvalidInput
from gradatim.evidence.assembly import assemble
from gradatim.evidence.release_record import CONTRACT_FILE
from gradatim.evidence.statement import Bundle
from gradatim.metrics.answers import REQUEST, TextAnswer, read_answer
from gradatim.models import detect_format, open_model
from gradatim.models.adapter import CHECKS, check_adapter
from gradatim.registry.tagging import announce
from gradatim.signature import Signature, TensorSpec
from gradatim.steps import inspect
from gradatim.timing.contestant import open_described

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
SAID = {"max_new_tokens": 6, "temperature": 0.0, "seed": 0, "samples": 1, "wants": ["text", "target"]}
CONTRACT = """
model: {name: capitals, path: base, adapter: lora}
data: {evaluation: test.jsonl}
task: {type: generation, scorers: [exact_match, bits_per_byte], generation: {max_new_tokens: 3}}
test: {abnormal: skip}
benchmark: {rounds: 3}
gates: {bits_per_byte: {at_most: 99}}
stages: {production: {branch: main}}
publish: [{folder: ../releases}]
"""
Fault = Callable[[Path], None]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaker(tmp_path_factory.mktemp("llama") / "base", layers=2, steps=0)


@pytest.fixture(scope="module")
def gpt2(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whose linear layers store their weight the other way round, and whose head is its embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = shutil.copytree(llama, tmp_path_factory.mktemp("gpt2") / "base")
    torch.manual_seed(1)
    said = {"bos_token_id": 0, "eos_token_id": 5, "pad_token_id": 2}
    GPT2LMHeadModel(
        GPT2Config(vocab_size=32, n_positions=64, n_embd=32, n_layer=2, n_head=2, **said)
    ).save_pretrained(folder)
    return folder


KINDS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "plain": ("llama", ("q_proj", "v_proj"), {}),
    "rank-stabilised": ("llama", ("o_proj", "down_proj"), {"use_rslora": True}),
    "another rank in one layer": ("llama", ("q_proj",), {"rank_pattern": {"model.layers.1.self_attn.q_proj": 2}}),
    "embedding": ("llama", ("embed_tokens", "q_proj"), {}),
    "a whole head": ("llama", ("q_proj",), {"modules_to_save": ["lm_head"]}),
    "Conv1D": ("gpt2", ("c_attn", "c_fc"), {"fan_in_fan_out": True}),
}  # fmt: skip


def made(request: pytest.FixtureRequest, kind: str, folder: Path) -> tuple[Path, Path]:
    family, targets, said = KINDS[kind]
    base: Path = request.getfixturevalue(family)
    return base, write_adapter(folder / "lora", base, *targets, **said)


def asked(base: Path, adapter: Path | None = None) -> list[TextAnswer]:
    rows = [{**SAID, "messages": question(c), "target": " rome"} for c in ("italy", "peru", "cuba")]
    lines = np.array([json.dumps(row) for row in rows], object)
    with open_model(base, root=base.parent, signature=ASKED, adapter=adapter) as model:
        return [read_answer(str(line), row) for row, line in enumerate(model({REQUEST: lines})["answer"])]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_with_an_adapter_that_fits(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    found = check_adapter(*made(request, kind, tmp_path))
    assert {check.name: check.fault for check in found} == dict.fromkeys(CHECKS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_answers_as_its_base_with_the_adapter_merged(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    base, adapter = made(request, kind, tmp_path)
    plain, adapted, whole = (
        asked(base),
        asked(base, adapter),
        asked(merged(tmp_path / "whole", base, adapter)),
    )
    for one, other, without in zip(adapted, whole, plain, strict=True):
        assert one.texts == other.texts
        assert one.target is not None
        assert other.target is not None
        assert without.target is not None
        assert one.target[0] == pytest.approx(other.target[0], abs=1e-4)
        assert abs(one.target[0] - without.target[0]) > 0.01


@pytest.mark.parametrize(
    "said", [{}, {"use_dora": True}, {"target_modules": "all-linear"}, {"trainable_token_indices": [1, 2]}]
)
def test_nothing_is_wrong_with_what_peft_saves(said: dict[str, Any], llama: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    config = peft.LoraConfig(**{"r": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **said})
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(llama), config)
    for name, weight in model.named_parameters():
        if "lora_" in name or "tokens_delta" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(tmp_path / "lora")
    found = check_adapter(llama, tmp_path / "lora")
    assert {check.name: check.fault for check in found} == dict.fromkeys(CHECKS)
    assert asked(llama, tmp_path / "lora") != asked(llama)


def rewritten(**values: Any) -> Fault:
    def fault(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return fault


def tensors(change: Callable[[dict[str, Any]], Any]) -> Fault:
    def fault(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        found = load_file(folder / "adapter_model.safetensors")
        change(found)
        save_file(found, folder / "adapter_model.safetensors", {"format": "pt"})

    return fault


def zeroed(letter: str) -> Fault:
    return tensors(lambda found: [found[name].zero_() for name in found if f"lora_{letter}" in name])


def wider(found: dict[str, Any]) -> None:
    for name in [name for name in found if "lora_A" in name]:
        found[name] = torch.randn(4, 48)


def deeper(found: dict[str, Any]) -> None:
    for name in [name for name in found if "layers.1." in name]:
        found[name.replace("layers.1.", "layers.7.")] = found.pop(name)


def first(found: dict[str, Any], letter: str) -> str:
    return next(name for name in sorted(found) if f"lora_{letter}" in name)


def half_lost(found: dict[str, Any]) -> None:
    for name in [name for name in found if "layers.1." in name]:
        del found[name]


def other_chat(folder: Path) -> None:
    base = folder.parent / "base"
    for name in ("tokenizer_config.json", "tokenizer.json"):
        shutil.copy(base / name, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("<|end|>", ""))


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "every B is zero": (zeroed("B"), "adapter_changes", "exactly as without"),
    "every A is zero": (zeroed("A"), "adapter_changes", "exactly as without"),
    "its weight is zero": (rewritten(lora_alpha=0), "adapter_changes", "`lora_alpha` is 0"),
    "made for a wider model": (tensors(wider), "adapter_fits", "trained on another model"),
    "made for a deeper model": (tensors(deeper), "adapter_fits", "layers.7.self_attn"),
    "another rank than said": (rewritten(r=16), "adapter_fits", "the config says 16"),
    "a B is lost": (tensors(lambda found: found.pop(first(found, "B"))), "adapter_fits", "an A and no B"),
    "another kind": (rewritten(peft_type="IA3"), "adapter_fits", "IA3"),
    "targets of another family": (rewritten(target_modules=["c_attn"]), "adapter_targets", "`c_attn`"),
    "one target of another family": (rewritten(target_modules=["q_proj", "v_proj", "query"]), "adapter_targets", "`query`"),
    "a pattern that matches nothing": (rewritten(target_modules=r".*\.c_attn"), "adapter_targets", "does not match"),
    "weights that no target names": (rewritten(target_modules=["q_proj"]), "adapter_targets", "leaves them out"),
    "half of it is lost": (tensors(half_lost), "adapter_targets", "no weights for it"),
    "trained on another base": (rewritten(base_model_name_or_path="meta/Other-3B"), "adapter_base", "meta/Other-3B"),
    "another chat template": (other_chat, "adapter_tokenizer", "chat template"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_by_name(name: str, llama: Path, tmp_path: Path) -> None:
    plant, check, said = FAULTS[name]
    base = shutil.copytree(llama, tmp_path / "base")
    plant(write_adapter(tmp_path / "lora", base, "q_proj", "v_proj"))
    found = {one.name: one.fault for one in check_adapter(base, tmp_path / "lora") if one.fault}
    assert said in (found.get(check) or ""), found
    if check in ("adapter_base", "adapter_tokenizer"):
        assert [one for one in check_adapter(base, tmp_path / "lora", (check,)) if one.fault] == []


@pytest.mark.parametrize(
    "told", ["hub/Base", "/home/me/base/", "C:\\models\\base", "models--hub--base/snapshots/1f", None, ""]
)
def test_its_base_is_known_by_its_name_wherever_it_lay(told: str | None, llama: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "lora", llama, "q_proj", base_model_name_or_path=told)
    assert [one for one in check_adapter(llama, adapter) if one.fault] == []


def test_its_base_is_known_by_what_the_config_calls_itself(llama: Path, tmp_path: Path) -> None:
    base = shutil.copytree(llama, tmp_path / "model")
    adapter = write_adapter(tmp_path / "lora", base, "q_proj", base_model_name_or_path="hub/Small-1B")
    assert [one.name for one in check_adapter(base, adapter) if one.fault] == ["adapter_base"]
    said = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**said, "_name_or_path": "hub/Small-1B"}))
    assert [one for one in check_adapter(base, adapter) if one.fault] == []


def test_a_whole_head_that_is_the_bases_own_changes_nothing(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    adapter = write_adapter(tmp_path / "lora", llama, "q_proj", modules_to_save=["lm_head"])
    zeroed("B")(adapter)
    assert [one for one in check_adapter(llama, adapter) if one.fault] == []
    own = load_file(llama / "model.safetensors")["lm_head.weight"]
    tensors(lambda found: found.update({"base_model.model.lm_head.weight": own}))(adapter)
    assert [one.name for one in check_adapter(llama, adapter) if one.fault] == ["adapter_changes"]


def test_values_of_another_kind_than_peft_writes_are_a_fault_and_never_a_crash(
    llama: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "lora", llama, "q_proj", rank_pattern={}, alpha_pattern={})
    path = adapter / "adapter_config.json"
    text = path.read_text()
    for key, value in itertools.product(
        json.loads(text), (5, -(2**70), "x", "(", ["x", 7], {"(": 4}, {"x": "y"}, [{"id": "x"}], None, True)
    ):
        path.write_text(json.dumps({**json.loads(text), key: value}))
        for check in check_adapter(llama, adapter):
            assert check.fault is None or check.fault.strip(), (key, value)


def project(folder: Path, base: Path, contract: str = CONTRACT) -> Path:
    root = new_repository(folder / "repo")
    shutil.copytree(base, root / "base")
    write_adapter(root / "lora", root / "base", "q_proj", "v_proj")
    write_questions(root / "test.jsonl", 4)
    (root / "gradatim.yml").write_text(contract)
    (root / ".gitignore").write_text(".gradatim/\n")
    return root


def candidate_of(root: Path) -> Candidate:
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")


@pytest.mark.parametrize("check", ["adapter_changes", "adapter_base"])
def test_a_candidate_whose_adapter_is_wrong_is_refused_before_it_runs(
    check: str, llama: Path, tmp_path: Path
) -> None:
    root = project(tmp_path, llama)
    outcome = inspect.run(candidate_of(root))
    assert (outcome.verdict.name, {gate.gate for gate in outcome.gates} >= set(CHECKS)) == ("PASS", True)
    (zeroed("B") if check == "adapter_changes" else rewritten(base_model_name_or_path="a/b"))(root / "lora")
    outcome = inspect.run(candidate_of(root))
    assert outcome.verdict.name == "FAIL"
    (refused,) = [gate for gate in outcome.gates if gate.refuses]
    assert refused.gate == check
    assert ("model.differs: [adapter_base]" in refused.text) == (check == "adapter_base")


def test_not_a_number_in_the_adapter_is_invalid(llama: Path, tmp_path: Path) -> None:
    root = project(tmp_path, llama)
    tensors(lambda found: found[first(found, "B")].fill_(float("nan")))(root / "lora")
    outcome = inspect.run(candidate_of(root))
    assert outcome.verdict.name == "INVALID"
    assert "lora_B" in next(gate.text for gate in outcome.gates if gate.gate == "finite_weights")


def pickled(folder: Path) -> None:
    torch.save({}, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def test_an_adapter_that_is_no_adapter_is_refused_by_name(llama: Path, tmp_path: Path) -> None:
    root = project(tmp_path, llama)
    for spoil, said in (
        (
            lambda: (root / "lora/adapter_model.safetensors").write_bytes(b"version https://git-lfs"),
            "Git LFS pointer",
        ),
        (lambda: pickled(root / "lora"), "are a pickle (adapter_model.bin)"),
        (lambda: (root / "lora/adapter_model.bin").unlink(), "are not there"),
        (lambda: shutil.rmtree(root / "lora"), "no LoRA adapter at"),
    ):
        spoil()
        with pytest.raises(InvalidInput) as told:
            candidate_of(root).forms.original  # noqa: B018 (its files are looked at)
        assert said in str(told.value)
        assert "gradatim.yml:2" in str(told.value)


@pytest.mark.parametrize(
    "model",
    [
        "{name: m, adapter: lora}",
        "{name: m, path: base, adapter: lora, factory: 'a:b'}",
        "{name: m, path: base, adapter: ../lora}",
    ],
)
def test_an_adapter_needs_its_base_inside_the_repository(model: str, llama: Path, tmp_path: Path) -> None:
    root = project(tmp_path, llama, f"model: {model}\n")
    with pytest.raises(ContractError, match=r"the base in `path`|inside the repository|needs a `path`"):
        read_contract(root / "gradatim.yml")


def test_an_adapter_is_not_lost_in_compression(llama: Path, tmp_path: Path) -> None:
    more = "compress: {keep: {exact_match: 99%}}\ndata: {evaluation: test.jsonl, calibration: test.jsonl}\n"
    root = project(tmp_path, llama, CONTRACT.replace("data: {evaluation: test.jsonl}\n", more))
    with pytest.raises(ContractError, match="makes nothing of an adapter"):
        read_contract(root / "gradatim.yml")


def test_an_adapter_in_the_place_of_a_model_says_what_it_is(llama: Path, tmp_path: Path) -> None:
    """With PEFT installed transformers would load another model, from wherever the adapter's config names."""
    adapter = write_adapter(tmp_path / "lora", llama, "q_proj")
    with pytest.raises(InvalidInput, match=r"`model\.adapter`"):
        detect_format(adapter)
    both = shutil.copytree(llama, tmp_path / "both")
    for path in adapter.iterdir():
        shutil.copy(path, both)
    with pytest.raises(InvalidInput, match=r"`model\.adapter`"):
        detect_format(both)


def test_an_adapter_goes_with_a_hugging_face_folder_alone(llama: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "lora", llama, "q_proj")
    with pytest.raises(InvalidInput, match="Hugging Face folder alone"):
        open_model(llama / "model.safetensors", root=tmp_path, adapter=adapter, factory="a:b")


def test_base_and_adapter_are_released_together_and_become_the_baseline(llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    root = project(tmp_path, llama)
    assert "peft" in extras_of(read_contract(root / "gradatim.yml").parts)
    commit_file(root, "notes.txt", b"the first")
    released = release(candidate_of(root))
    assert {name for name in released if name.endswith((".safetensors", "config.json"))} == {
        "base/model.safetensors", "base/config.json", "base/generation_config.json", "base/tokenizer_config.json",
        "lora/adapter_model.safetensors", "lora/adapter_config.json",
    }  # fmt: skip
    then = answer_of(candidate_of(root).model, root / "base")
    write_adapter(root / "lora", root / "base", "q_proj", seed=2)
    replaced = candidate_of(root).replaced
    assert replaced.path is not None
    assert answer_of(replaced.model, replaced.path) == then
    assert answer_of(candidate_of(root).model, root / "base") != then


def test_a_release_of_which_nothing_tells_the_adapter_is_no_baseline(llama: Path, tmp_path: Path) -> None:
    root = project(tmp_path, llama)
    git(root, "add", ".")
    commit_file(root, "notes.txt", b"tagged by hand")
    git(root, "tag", "-a", "v1.0.0", "-m", "The first")
    with pytest.raises(EnvironmentLacks, match=r"v1\.0\.0 was not tagged by gradatim"):
        candidate_of(root).replaced.model  # noqa: B018 (it is looked for)


def release(candidate: Candidate) -> list[str]:
    """Give it a version by the tag alone; the names of the released files."""
    variant, commit = candidate.forms.original, candidate.repository.head()
    files = assemble(
        variant.manifest, variant.folder, Bundle(()), tag="v1.0.0", version="v1.0.0", stage="production",
        variant=variant.name, commit=commit, previous=None, committed={}, others={CONTRACT_FILE: candidate.contract.path},
    )  # fmt: skip
    announce(candidate.repository, files.record, files.manifest, files.kept)
    kept = candidate.workspace.model_folder(BASELINE) / variant.manifest.digest[:16]
    for entry in variant.manifest.files:
        (kept / entry.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(variant.folder / entry.path, kept / entry.path)
    return [entry.path for entry in variant.manifest.files]


def answer_of(model: Model, path: Path) -> TextAnswer:
    row = {**SAID, "messages": question("peru"), "target": " lima"}
    with open_described(model.described(path)) as opened:
        return read_answer(str(opened({REQUEST: np.array([json.dumps(row)], object)})["answer"][0]), 0)
