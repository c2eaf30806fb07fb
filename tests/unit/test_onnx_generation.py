"""A decoder in ONNX with its tokenizer beside it: asked, scored and released like the folder that it was exported from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from registry_examples import new_repository
from small_speaker import CAPITALS, question, write_onnx, write_questions, write_speaker

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import InvalidInput
from gradatim.metrics.answers import REQUEST, TextAnswer, divergence, read_answer
from gradatim.models import open_model
from gradatim.signature import Signature, TensorSpec

pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
SAID = {"max_new_tokens": 8, "temperature": 0.0, "seed": 0, "samples": 1, "wants": ["text"]}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder, and the same model in ONNX."""
    folder = write_speaker(tmp_path_factory.mktemp("speaker") / "model", steps=40)
    return folder, write_onnx(shutil.copytree(folder, folder.with_name("onnx")))


def asked(path: Path, *requests: dict[str, Any]) -> list[TextAnswer]:
    lines = np.array([json.dumps({**SAID, **request}) for request in requests], object)
    with open_model(path, root=path.parent, signature=ASKED) as model:
        return [read_answer(str(line), row) for row, line in enumerate(model({REQUEST: lines})["answer"])]


def test_it_says_what_the_folder_says_with_the_same_chances(both: tuple[Path, Path]) -> None:
    wants = {
        "wants": ["text", "choices", "target", "spread"],
        "choices": [" rome", " oslo"],
        "target": " rome",
    }
    requests = [{"messages": question(country), **wants} for country in CAPITALS]
    for one, other in zip(*(asked(path, *requests) for path in both), strict=True):
        assert (one.texts, one.cut) == (other.texts, other.cut)
        assert one.choices == pytest.approx(other.choices, abs=1e-4)
        assert one.target is not None
        assert other.target is not None
        assert one.target == (pytest.approx(other.target[0], abs=1e-4), other.target[1])
        assert (divergence(one.spread, other.spread) or 0.0) < 1e-6


def test_it_ends_fails_and_draws_as_the_contract_says(both: tuple[Path, Path]) -> None:
    _, decoder = both
    prompt = "user capital of peru ? assistant"
    whole, cut, long = asked(
        decoder,
        {"prompt": prompt, "max_new_tokens": 3},
        {"prompt": prompt, "max_new_tokens": 1},
        {"prompt": "capital " * 70},
    )
    assert cut.cut == (True,)
    assert "64" in str(long.error)
    word = whole.texts[0].split()[-1]
    (stopped,) = asked(decoder, {"prompt": prompt, "max_new_tokens": 3, "stop": [word]})
    assert stopped.texts == (whole.texts[0][: whole.texts[0].index(word)],)
    drawn = {"messages": question("cuba"), "temperature": 3.0, "samples": 6}
    first, again, likeliest, greedy = asked(
        decoder, drawn, drawn, {**drawn, "top_k": 1}, {"messages": question("cuba")}
    )
    assert first == again
    assert len(set(first.texts)) > 1
    assert set(likeliest.texts) == {*greedy.texts}


def test_its_places_are_known_by_the_name_that_gpt2_has_for_them(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(both[1].parent, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["n_positions"] = config.pop("max_position_embeddings")
    (folder / "config.json").write_text(json.dumps(config))
    (long,) = asked(folder / both[1].name, {"prompt": "capital " * 70})
    assert "places for 64" in str(long.error)


def test_its_tokenizer_is_released_with_it_and_must_be_there(both: tuple[Path, Path], tmp_path: Path) -> None:
    root = new_repository(tmp_path / "repo")
    shutil.copytree(both[1].parent, root / "model")
    write_questions(root / "test.jsonl", 4)
    (root / "gradatim.yml").write_text(
        "model: {name: capitals, path: model/model.onnx}\ndata: {evaluation: test.jsonl}\n"
        "task: {type: generation, scorers: [exact_match]}\n"
    )
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop())
    named = {path.name for path in candidate.model.files}
    assert named >= {"model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"}
    (root / "model/tokenizer.json").unlink()
    (root / "model/tokenizer_config.json").unlink()
    with pytest.raises(InvalidInput, match="does not lie beside it"):
        asked(root / "model/model.onnx", {"prompt": "capital"})


def test_what_is_no_decoder_is_refused(both: tuple[Path, Path], tmp_path: Path) -> None:
    from gate_project import write_model

    shutil.copytree(both[1].parent, tmp_path / "model")
    write_model(tmp_path / "model/model.onnx", "old")
    with pytest.raises(InvalidInput, match="takes `x`: a decoder takes"):
        asked(tmp_path / "model/model.onnx", {"prompt": "capital"})


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_settings_that_are_no_object_are_said_to_be_none(
    both: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(both[1].parent, tmp_path / "model")
    (folder / name).write_text("[1]")
    with pytest.raises(InvalidInput, match=f"{name} is no JSON object"):
        asked(folder / both[1].name, {"prompt": "capital"})
