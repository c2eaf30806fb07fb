"""A LoRA adapter in the place of a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_adapter import write_adapter
from small_speaker import write_speaker

from gradatim.errors import InvalidInput
from gradatim.models import detect_format

pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaker(tmp_path_factory.mktemp("llama") / "base", layers=2, steps=0)


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
