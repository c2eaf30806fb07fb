"""What users report after the release of a language model, found before it: each fault by name, none on a whole model."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry_examples import commit_file, git, new_repository
from small_gguf import write_gguf
from small_speaker import TEMPLATE, write_speaker

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import InvalidInput
from gradatim.models import file_checks
from gradatim.models.language_files import AGAINST, check_language_files
from gradatim.steps import inspect

pytest.importorskip("transformers")
CONTRACT = """
model: {name: capitals, path: model}
task: {type: generation, scorers: [exact_match]}
stages: {production: {branch: main}}
"""
Fault = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model in shards."""
    from transformers import AutoModelForCausalLM

    folder = write_speaker(tmp_path_factory.mktemp("whole") / "model", layers=2, steps=0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="12KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return folder


def rewritten(name: str, change: Callable[[Any], None]) -> Fault:
    def fault(folder: Path) -> None:
        said = json.loads((folder / name).read_text())
        change(said)
        (folder / name).write_text(json.dumps(said))

    return fault


def set_to(name: str, **values: Any) -> Fault:
    return rewritten(name, lambda said: said.update(values))


def first_shard_gone(folder: Path) -> None:
    sorted(folder.glob("model-*.safetensors"))[0].unlink()


def another_dtype(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in sorted(folder.glob("model-*.safetensors")):
        tensors = load_file(path)
        for name in tensors:
            if "layers.1.mlp.up_proj" in name:
                save_file({**tensors, name: tensors[name].half()}, path, {"format": "pt"})
                return
    raise AssertionError


def templated(text: str) -> Fault:
    return lambda folder: (folder / "chat_template.jinja").write_text(text) and None


def in_floats(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in sorted(folder.glob("model-*.safetensors")):
        save_file({name: one.bfloat16() for name, one in load_file(path).items()}, path, {"format": "pt"})


def without(name: str) -> Fault:
    return lambda folder: _without(folder, name)


def _without(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    index = json.loads((folder / "model.safetensors.index.json").read_text())
    path = folder / index["weight_map"].pop(name)
    left = {other: one for other, one in load_file(path).items() if other != name}
    save_file(left, path, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def wrong_place(index: Any) -> None:
    files = sorted(set(index["weight_map"].values()))
    name = next(name for name, file in index["weight_map"].items() if file == files[0])
    index["weight_map"][name] = files[-1]


def exchanged(folder: Path) -> None:
    """Two layers in one another's place."""
    from safetensors.torch import load_file, save_file

    files = {path: load_file(path) for path in sorted(folder.glob("model-*.safetensors"))}
    tensors = {name: one for found in files.values() for name, one in found.items()}
    swap = {"layers.0.": "layers.1.", "layers.1.": "layers.0."}
    for path, found in files.items():
        other = {name: re.sub(r"layers\.[01]\.", lambda m: swap[m[0]], name) for name in found}
        save_file({name: tensors[other[name]].clone() for name in found}, path, {"format": "pt"})


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "a shard is missing": (first_shard_gone, "shards", "is not there"),
    "the index names another file": (rewritten("model.safetensors.index.json", wrong_place), "shards", "The index says"),
    "layers are lost": (set_to("config.json", num_hidden_layers=3), "tensors_match_config", "3 layers"),
    "the config is another model's": (set_to("config.json", vocab_size=99), "tensors_match_config", "vocab_size"),
    "dtypes are mixed": (another_dtype, "one_dtype", "F16"),
    "another tokenizer": (
        rewritten("tokenizer.json", lambda said: said["model"]["vocab"].update({"new": 900})), "tokenizer_fits", "900",
    ),
    "the tokenizer was changed": (
        rewritten("tokenizer.json", lambda said: said.update(normalizer={"type": "Lowercase"})), "same_tokenizer", "normalizer",
    ),
    "a special token is lost": (set_to("tokenizer_config.json", pad_token=None), "same_special_tokens", "pad_token"),
    "the end token is another": (set_to("config.json", eos_token_id=3), "same_special_tokens", "eos_token_id"),
    "the chat template is missing": (lambda folder: (folder / "chat_template.jinja").unlink(), "same_chat_template", "no chat"),
    "the chat template is wrong": (templated(TEMPLATE.replace("<|end|>", "")), "same_chat_template", "rendered otherwise"),
    "the chat template fails": (templated("{{ raise_exception('no') }}"), "chat_template_works", "fails"),
    "the first token is doubled": (templated("{{ bos_token }}" + TEMPLATE), "one_bos", "twice"),
    "the tokenizer no longer begins": (
        rewritten("tokenizer.json", lambda said: said.update(post_processor=None)), "same_bos", "begins",
    ),
    "its end token is of no word": (set_to("generation_config.json", eos_token_id=[5, 900]), "tokenizer_fits", "900"),
    "its filling token is of no word": (set_to("config.json", pad_token_id=900), "tokenizer_fits", "pad_token_id"),
    "positions are told otherwise": (set_to("config.json", rope_parameters={"rope_type": "default", "rope_theta": 5e5}), "same_config", "rope"),
    "it has other heads": (set_to("config.json", num_attention_heads=4), "same_config", "num_attention_heads"),
    "its head is gone": (without("lm_head.weight"), "tensors_match_config", "no head"),
    "its weights are of another dtype": (in_floats, "same_dtype", "BF16"),
    "a matrix of one layer is gone": (without("model.layers.1.mlp.up_proj.weight"), "same_config", "layers.1.mlp.up_proj"),
    "tokens become text otherwise": (
        rewritten("tokenizer.json", lambda said: said.update(decoder={"type": "Fuse"})), "same_tokenizer", "decoder",
    ),
    "two layers are exchanged": (exchanged, "same_layers", "layers.1."),
    "a head of its own is ignored": (set_to("config.json", tie_word_embeddings=True), "tensors_match_config", "would not be used"),
    "a number is a word": (set_to("config.json", num_hidden_layers="two"), "tensors_match_config", "num_hidden_layers is 'two'"),
    "it is filled up at the other side": (set_to("tokenizer_config.json", padding_side="left"), "same_tokenizer", "padding_side"),
    "texts are cut": (
        rewritten("tokenizer.json", lambda said: said.update(truncation={"max_length": 8, "strategy": "LongestFirst", "stride": 0})),
        "same_tokenizer", "truncation",
    ),
    "theta is another": (set_to("config.json", rope_theta=5e5), "same_config", "rope"),
    "it has no end": (
        rewritten("generation_config.json", lambda said: said.pop("eos_token_id")), "same_generation_settings", "eos_token_id",
    ),
    "there are more words than embeddings": (
        rewritten("tokenizer.json", lambda said: said["added_tokens"].append({**said["added_tokens"][0], "id": 800, "content": "<x>"})),
        "tokenizer_fits", "800",
    ),
    "generation settings changed": (
        set_to("generation_config.json", repetition_penalty=1.3), "same_generation_settings", "repetition_penalty",
    ),
}  # fmt: skip


def test_nothing_is_wrong_with_the_untouched_model(whole: Path) -> None:
    found = check_language_files(whole, whole)
    assert [check.fault for check in found] == [None] * len(found)
    assert len(found) == 14
    assert [check.fault for check in check_language_files(whole, None)] == [
        None
    ] * 14  # nothing to differ from


TINY: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": {"n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1},
    "OPTForCausalLM": {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "Gemma2ForCausalLM": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                          "num_key_value_heads": 1, "head_dim": 8},
    "Qwen2ForCausalLM": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                         "num_key_value_heads": 1},
    "MambaForCausalLM": {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2},
    "GPTNeoXForCausalLM": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "T5ForConditionalGeneration": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2},
    "MarianMTModel": {"d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                      "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "pad_token_id": 63},
    "BartForConditionalGeneration": {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
                                     "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16},
    "WhisperForConditionalGeneration": {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
                                        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_mel_bins": 8,
                                        "max_source_positions": 8, "max_target_positions": 8, "pad_token_id": 1, "bos_token_id": 1,
                                        "eos_token_id": 1, "decoder_start_token_id": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_nothing_is_wrong_with_an_untouched_network_of_any_family(name: str, tmp_path: Path) -> None:
    import transformers

    kind = getattr(transformers, name)
    config = kind.config_class(vocab_size=64, **TINY[name])
    kind(config).save_pretrained(tmp_path / "old")
    kind(config).save_pretrained(tmp_path / "new")
    for baseline in (tmp_path / "old", tmp_path / "new"):
        found = check_language_files(tmp_path / "new", baseline)
        assert len(found) == 14
        assert [check for check in found if check.fault] == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_by_name(name: str, whole: Path, tmp_path: Path) -> None:
    plant, check, said = FAULTS[name]
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    plant(folder)
    found = {one.name: one.fault for one in check_language_files(folder, whole) if one.fault}
    assert said in (found.get(check) or ""), found


def test_what_another_version_of_transformers_saves_otherwise_is_no_fault(
    whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "model")

    def older(said: Any) -> None:
        said |= {"rope_theta": said.pop("rope_parameters")["rope_theta"], "torch_dtype": said.pop("dtype")}
        said |= {"rope_scaling": None, "transformers_version": "4.40.0", "use_cache": False, "new_in_it": 3}

    rewritten("config.json", older)(tmp_path / "model")
    for pair in ((tmp_path / "model", whole), (whole, tmp_path / "model")):
        assert [check for check in check_language_files(*pair) if check.fault] == []


def test_a_tokenizer_of_the_older_kind_is_held_against_the_releases(whole: Path, tmp_path: Path) -> None:
    for name in ("old", "new"):
        shutil.copytree(whole, tmp_path / name)
        (tmp_path / name / "tokenizer.json").unlink()
        (tmp_path / name / "merges.txt").write_text("a b\nc d\n" if name == "old" else "a b\n")
    found = check_language_files(tmp_path / "new", tmp_path / "old")
    assert [check.name for check in found if check.fault] == ["same_tokenizer"]


def test_another_network_may_have_other_settings(whole: Path, tmp_path: Path) -> None:
    other = write_speaker(tmp_path / "model", layers=3, steps=0)
    set_to("config.json", num_attention_heads=4)(other)
    assert [check for check in check_language_files(other, whole) if check.fault] == []


def test_a_network_of_another_family_is_held_against_its_tokenizer_too(whole: Path, tmp_path: Path) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=12, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(whole / name, tmp_path / "model" / name)
    found = {one.name: one.fault for one in check_language_files(tmp_path / "model", None) if one.fault}
    assert "embeddings for 12" in found["tokenizer_fits"]


def test_a_difference_that_is_meant_is_let_pass(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "model")
    templated(TEMPLATE.replace("<|end|>", ""))(tmp_path / "model")
    found = check_language_files(tmp_path / "model", whole, ("same_chat_template",))
    assert {check.name for check in found} >= set(AGAINST) - {"same_chat_template"}
    assert [check.fault for check in found if check.fault] == []


def test_a_candidate_with_another_chat_template_is_refused_before_it_runs(
    whole: Path, tmp_path: Path
) -> None:
    root = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    shutil.copytree(whole, root / "model")
    (root / "gradatim.yml").write_text(CONTRACT)
    git(root, "add", ".")
    commit_file(root, ".gitignore", b".gradatim/\n")
    git(root, "tag", "-a", "v1.0.0", "-m", "The first")
    git(root, "push", "-q", "origin", "v1.0.0")
    templated(TEMPLATE.replace("<|end|>", ""))(root / "model")
    for contract, verdict in (
        (CONTRACT, "FAIL"),
        (CONTRACT.replace("path: model", "path: model, differs: [same_chat_template]"), "PASS"),
    ):
        (root / "gradatim.yml").write_text(contract)
        outcome = inspect.run(Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production"))
        assert outcome.verdict.name == verdict
        refused = [gate for gate in outcome.gates if gate.refuses]
        assert [gate.gate for gate in refused] == ["same_chat_template"][: verdict == "FAIL"]
        assert all("Of 3 fixed conversations 3" in gate.text and "differs" in gate.text for gate in refused)


def test_a_template_cannot_leave_its_sandbox(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "model")
    templated("{{ ''.__class__.__mro__[1].__subclasses__() }}")(tmp_path / "model")
    found = {check.name: check.fault for check in check_language_files(tmp_path / "model", None)}
    assert "unsafe" in (found["chat_template_works"] or "")


def test_values_of_another_kind_than_transformers_writes_are_a_fault_and_never_a_crash(
    whole: Path, tmp_path: Path
) -> None:
    """Every key of every json file in turn, in two of the ways each."""
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    ways = itertools.cycle((5, -(2**70), 2**40, "x", ["x", 7], {"x": "y"}, [{"id": "x"}], None, 5))
    for path in sorted(folder.glob("*.json")):
        text = path.read_text()
        for key in json.loads(text):
            for value in itertools.islice(ways, 2):
                path.write_text(json.dumps({**json.loads(text), key: value}))
                for check in check_language_files(folder, whole):
                    assert check.fault is None or check.fault.strip(), (path.name, key, value)
        path.write_text(text)
    assert [check.fault for check in check_language_files(folder, whole) if check.fault] == []


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
FULL = "{{ 'x' * 4000000000 }}"
FOLDED = "{% set n = namespace(x='xxxxxxxx') %}{% for a in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
DEEP = "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"


@pytest.mark.parametrize("template", [ENDLESS, FULL, FOLDED], ids=["endless", "full", "folded"])
def test_a_chat_template_that_never_ends_or_fills_the_memory_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr(file_checks, "SECONDS", 2)
    path = write_gguf(tmp_path / "m.gguf", tokenizer__chat_template=template)
    with pytest.raises(
        InvalidInput, match=r"m\.gguf cannot be looked at: their chat template .* 2 s or 2 GB"
    ):
        file_checks.check_files(path, None, path, None, ())


@pytest.mark.parametrize("template", [DEEP, "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"])
def test_a_chat_template_that_is_too_deep_is_a_fault_of_its_own(tmp_path: Path, template: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", tokenizer__chat_template=template)
    faults = {one.name: one.fault for one in file_checks.check_files(path, None, path, None, ())}
    assert "recursion" in (faults["chat_template_works"] or "")
    assert faults["tokenizer_fits"] is None
