"""Language models are made smaller: weights in fewer bits, fewer layers, held against the original by the chances of tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_speaker import CAPITALS, question, write_onnx, write_speaker
from small_translator import pairs, write_translator

from gradatim.compression.language import asked, shortened, stored
from gradatim.compression.recipe import Recipe
from gradatim.compression.result import Result
from gradatim.compression.search import compress
from gradatim.errors import InvalidInput
from gradatim.metrics.answers import REQUEST, TextAnswer, read_answer
from gradatim.models import open_model
from gradatim.models.divergence import chances, likeness
from gradatim.signature import Signature, TensorSpec
from gradatim.timing.contestant import Contestant, save_inputs

transformers = pytest.importorskip("transformers")
pytest.importorskip("compressed_tensors")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
SAID = {"max_new_tokens": 4, "temperature": 0.0, "seed": 0, "samples": 1, "wants": ["text"]}
LINES = np.array([json.dumps({**SAID, "messages": question(country)}) for country in CAPITALS], object)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four layers that knows the capitals."""
    folder = write_speaker(tmp_path_factory.mktemp("speaker") / "model", layers=4, steps=150, seed=2)
    assert [one.texts[0] for one in answers(folder)] == [*CAPITALS.values()]
    return folder


def opened(model: Path) -> dict[str, Any]:
    return Contestant("m", model, model.parent, signature=ASKED).opening


def answers(path: Path) -> list[TextAnswer]:
    with open_model(path, root=path.parent, signature=ASKED) as model:
        return [read_answer(str(line), row) for row, line in enumerate(model({REQUEST: LINES})["answer"])]


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def like(original: Path, form: Path, scratch: Path, lines: NDArray[Any] = LINES) -> dict[str, float]:
    rows, told = save_inputs(scratch / "rows.npz", {REQUEST: lines}), []
    for path in (original, form):
        with open_model(path, root=path.parent, signature=ASKED) as model:
            told.append(chances(model, asked(model, scratch / "heard.json", [str(rows)])))
    return likeness(*told)


def test_a_folder_is_stored_in_fewer_bits_and_transformers_opens_it_as_any_other(
    speaker: Path, tmp_path: Path
) -> None:
    told = {}
    for bits in (8, 4):
        form = tmp_path / f"{bits}"
        stored(speaker, form, Recipe(f"int{bits}-weights"))
        network, said = transformers.AutoModelForCausalLM.from_pretrained(form, output_loading_info=True)
        assert not said["missing_keys"]
        assert not said["unexpected_keys"]
        groups = network.config.quantization_config.quantization_config.config_groups
        assert groups["group_0"].weights.num_bits == bits
        assert {file.name for file in form.iterdir()} == {file.name for file in speaker.iterdir()}
        told[bits] = like(speaker, form, tmp_path)
        assert [one.texts for one in answers(form)] == [one.texts for one in answers(speaker)]
    assert 0 < told[8]["kl"] < 1e-4 < told[4]["kl"] < 0.05
    assert told[8]["fidelity"] == pytest.approx(np.exp(-told[8]["kl"]))
    assert told[8]["agreement"] == 1
    assert size(tmp_path / "4") < size(tmp_path / "8") * 0.75 < size(speaker) * 0.3


def test_shards_in_half_precision_are_packed_shard_by_shard(speaker: Path, tmp_path: Path) -> None:
    import torch

    folder, form = shutil.copytree(speaker, tmp_path / "model"), tmp_path / "form"
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    stored(folder, form, Recipe("int4-weights"))
    index = json.loads((form / "model.safetensors.index.json").read_text())["weight_map"]
    assert {*index.values()} == {file.name for file in form.glob("*.safetensors")}
    assert like(folder, form, tmp_path)["kl"] < 0.05


def test_layers_are_taken_out_and_what_is_left_learns_to_say_the_same(speaker: Path, tmp_path: Path) -> None:
    rows, form = save_inputs(tmp_path / "rows.npz", {REQUEST: LINES}), tmp_path / "form"
    shortened(opened(speaker), form, 0.5, [str(rows)], 0, seconds=5)
    assert json.loads((form / "config.json").read_text())["num_hidden_layers"] == 2
    assert size(form) < 0.6 * size(speaker)
    assert like(speaker, form, tmp_path)["kl"] < 0.03
    assert [one.texts for one in answers(form)] == [one.texts for one in answers(speaker)]


def test_a_decoder_in_onnx_is_stored_in_fewer_bits_with_its_tokenizer(speaker: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    decoder, form = write_onnx(shutil.copytree(speaker, tmp_path / "model")), tmp_path / "form/model.onnx"
    stored(decoder, form, Recipe("int4-weights"))
    assert form.stat().st_size < 0.55 * decoder.stat().st_size
    assert like(decoder, form, tmp_path)["kl"] < 0.05
    assert [one.texts for one in answers(form)] == [one.texts for one in answers(decoder)]


@pytest.mark.parametrize("kind", ["t5", "marian"])
def test_a_network_that_reads_and_writes_has_fewer_bits_and_keeps_its_layers(
    kind: str, tmp_path: Path
) -> None:
    folder = write_translator(tmp_path / "model", kind, steps=20)
    lines = np.array(
        [json.dumps({**SAID, "prompt": one, "target": other}) for one, other in pairs(6, seed=1)], object
    )
    found = []
    for bits in (8, 4):
        stored(folder, tmp_path / f"{bits}", Recipe(f"int{bits}-weights"))
        found.append(like(folder, tmp_path / f"{bits}", tmp_path, lines)["kl"])
    assert 0 <= found[0] < 1e-3
    assert found[0] < found[1] < 0.2
    assert size(tmp_path / "4") < size(tmp_path / "8") < size(folder) * 0.5
    rows = save_inputs(tmp_path / "rows.npz", {REQUEST: lines})
    with pytest.raises(InvalidInput, match="reads with one part and writes with the other"):
        shortened(opened(folder), tmp_path / "form", 0.5, [str(rows)], 0, seconds=1)


def test_a_gpt2_loses_layers_and_is_told_why_not_bits(tmp_path: Path) -> None:
    import torch

    folder, form = write_speaker(tmp_path / "model", steps=0), tmp_path / "form"
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=40,
        n_embd=32,
        n_layer=3,
        n_head=2,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=5,
        pad_token_id=2,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    shortened(
        opened(folder), form, 0.34, [str(save_inputs(tmp_path / "rows.npz", {REQUEST: LINES}))], 0, seconds=2
    )
    assert json.loads((form / "config.json").read_text())["n_layer"] == 2
    assert like(folder, form, tmp_path)["kl"] < 0.5
    with pytest.raises(InvalidInput, match="GPT-2"):
        stored(folder, tmp_path / "8", Recipe("int8-weights"))


def test_what_cannot_be_made_of_it_is_said(speaker: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match="can have int8-weights, int4-weights, pruned, and not int8-static"
    ):
        stored(speaker, tmp_path / "form", Recipe("int8-static"))
    stored(speaker, tmp_path / "form", Recipe("int8-weights"))
    with pytest.raises(InvalidInput, match="fewer bits already \\(compressed-tensors\\)"):
        stored(tmp_path / "form", tmp_path / "again", Recipe("int8-weights"))


def test_a_form_that_fails_or_makes_other_tokens_is_like_nothing() -> None:
    said = TextAnswer(spread=(((1, -0.1), (1, -0.1), (2, -3.0)),))
    with pytest.raises(InvalidInput, match="fails where the original does not: too long"):
        likeness([said], [TextAnswer(error="too long")])
    with pytest.raises(InvalidInput, match="other tokens"):
        likeness([said], [TextAnswer(spread=(((2, -0.1), (1, -0.1), (2, -3.0)),))])
    with pytest.raises(InvalidInput, match="of no token"):
        likeness([TextAnswer(error="too long")], [said])
    assert likeness([said, TextAnswer(error="too long")], [said, said])["fidelity"] == 1


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"adapter": "lora"}, "Merge it"),
        ({"endpoint": {"url": "http://127.0.0.1:9/v1"}}, "contract names beside it"),
    ],
)
def test_what_is_run_by_others_or_has_an_adapter_is_released_as_it_is(
    speaker: Path, tmp_path: Path, told: dict[str, Any], says: str
) -> None:
    result = searched(speaker, tmp_path / "out", opened={**opened(speaker), **told})
    assert not result.trials
    assert says in result.reason


def searched(model: Path, out: Path, **settings: Any) -> Result:
    rows = [{REQUEST: LINES}]
    return compress(model, out, calibration=lambda: iter(rows), **{"opened": opened(model), **settings})


@pytest.mark.slow
def test_the_search_tries_bits_and_layers_and_keeps_the_chances_of_tokens(
    speaker: Path, tmp_path: Path
) -> None:
    methods = ("int8-weights", "int4-weights", "pruned")
    result = searched(speaker, tmp_path / "out", methods=methods, seconds_per_trial=60, slowest=3)
    trials = {trial.name: trial for trial in result.trials}
    assert trials["int8-weights"].quality["kl"] < trials["int4-weights"].quality["kl"] < 0.05
    assert trials["pruned-50"].accepted, trials["pruned-50"].reason
    best = result.best
    assert best.name.startswith("pruned-"), result.reason
    assert best.name.endswith("-int4-weights"), result.reason
    assert best.path is not None
    assert size(best.path) < size(tmp_path / "out/pruned-50")
    assert [one.texts for one in answers(best.path)] == [one.texts for one in answers(speaker)]
    strict = searched(speaker, tmp_path / "out", methods=("int4-weights",), keep={"fidelity": 0.9999999})
    assert strict.best.name == "fp32"
    assert "its fidelity is" in strict.trials[0].reason


@pytest.mark.slow
def test_a_decoder_in_onnx_is_searched_as_one_that_is_asked_for_text(speaker: Path, tmp_path: Path) -> None:
    decoder = write_onnx(shutil.copytree(speaker, tmp_path / "model"))
    result = searched(decoder, tmp_path / "out", slowest=3)
    assert [trial.name for trial in result.trials] == ["int8-weights", "int4-weights"]
    assert all(trial.accepted for trial in result.trials), result.reason
