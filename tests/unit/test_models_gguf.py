"""A GGUF file: read header first, and asked in the process of the model where llama.cpp is installed."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from small_gguf import CHAT, SETTINGS, text, value, write_gguf

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput
from gradatim.metrics.answers import REQUEST
from gradatim.models import detect_format, inspect_model, open_model
from gradatim.models.gguf_file import gguf_header
from gradatim.models.language_files import check_language_files
from gradatim.signature import Signature, TensorSpec

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())


def test_a_gguf_file_tells_what_it_is_without_being_loaded(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "small.gguf")
    header = gguf_header(path)
    assert header.settings == SETTINGS
    embedding = header.tensors["token_embd.weight"]
    assert (embedding.shape, embedding.stored, embedding.size) == ((4, 32), "Q4_1", 80)
    assert detect_format(path) == "gguf"
    found = inspect_model(path, root=tmp_path)
    assert (found.format, found.parameters, found.producer, found.doubts) == (
        "gguf",
        4 * 32 + 32,
        "small",
        {},
    )


def test_a_gguf_file_that_ends_anywhere_is_refused_in_words(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "small.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for size in (*range(5, len(whole) - 128, 7), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidInput, match=r"truncated|GGUF"):
            gguf_header(path)


def test_a_gguf_file_that_announces_more_than_it_has_takes_no_memory(tmp_path: Path) -> None:
    whole = bytearray(write_gguf(tmp_path / "small.gguf").read_bytes())
    for place in (8, 16, 24):  # tensors, settings, the length of the first name
        bent = bytearray(whole)
        bent[place : place + 8] = (2**60).to_bytes(8, "little")
        (tmp_path / "bent.gguf").write_bytes(bent)
        with pytest.raises(InvalidInput, match="damaged"):
            gguf_header(tmp_path / "bent.gguf")


def test_what_a_gguf_file_cannot_be_asked_here_is_said(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "small.gguf")
    with pytest.raises(InvalidInput, match="type: generation"):
        open_model(path, root=tmp_path)
    with pytest.raises(EnvironmentLacks, match=r"model\.endpoint"):
        open_model(path, root=tmp_path, signature=ASKED, device="cuda")


def test_weights_that_llama_cpp_cannot_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GradatimError, match=r"cannot be loaded by llama\.cpp|gguf"):
        open_model(write_gguf(tmp_path / "small.gguf"), root=tmp_path, signature=ASKED)


FAULTS: dict[str, dict[str, Any]] = {
    "tensors_match_config": {"layers": 2},
    "tokenizer_fits": {"tokenizer__ggml__tokens": ["<s>", "</s>", "a", "b", "c"]},
    "chat_template_works": {"tokenizer__chat_template": "{{ raise_exception('no') }}"},
    "one_bos": {"tokenizer__chat_template": "<s><s>" + CHAT},
    "same_tokenizer": {"tokenizer__ggml__tokens": ["<s>", "</s>", "b", "a"]},
    "same_special_tokens": {"tokenizer__ggml__eos_token_id": 2},
    "same_chat_template": {"tokenizer__chat_template": CHAT.replace("<|user|>", "").replace("<|", "[")},
    "same_bos": {"tokenizer__ggml__add_bos_token": True},
    "same_config": {"llama__embedding_scale": 3},
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_a_gguf_file_is_told_by_its_name(name: str, tmp_path: Path) -> None:
    release = write_gguf(tmp_path / "release.gguf")
    faults = check_language_files(write_gguf(tmp_path / "bad.gguf", **FAULTS[name]), release)
    assert name in {check.name for check in faults if check.fault}


def test_a_gguf_file_that_is_whole_has_no_fault(tmp_path: Path) -> None:
    release = write_gguf(tmp_path / "release.gguf")
    checks = check_language_files(write_gguf(tmp_path / "again.gguf", general__name="renamed"), release)
    assert {check.name for check in checks} >= FAULTS.keys()
    assert [check for check in checks if check.fault] == []


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"tokenizer__ggml__bos_token_id": -9}, "tokenizer_fits"),
        ({"llama__block_count": 2**40}, "tensors_match_config"),
    ],
)
def test_a_number_that_no_model_has_is_a_fault_and_costs_nothing(
    tmp_path: Path, changed: dict[str, Any], check: str
) -> None:
    found = check_language_files(
        write_gguf(tmp_path / "bad.gguf", **changed), write_gguf(tmp_path / "m.gguf")
    )
    assert check in {one.name for one in found if one.fault}


@pytest.mark.parametrize("length", ["long", -1, 0, 2**60])
def test_a_context_of_no_length_is_refused_in_words(tmp_path: Path, length: Any) -> None:
    path = write_gguf(tmp_path / "small.gguf", llama__context_length=length)
    with pytest.raises(GradatimError, match=r"cannot be loaded by llama\.cpp|gguf"):
        open_model(path, root=tmp_path, signature=ASKED)


def test_a_header_that_takes_the_weights_for_settings_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("x") + struct.pack("<IIQ", 9, 0, 80 << 20)
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(100 << 20)  # takes no place on the disk
    with pytest.raises(InvalidInput, match="damaged"):
        gguf_header(path)


@pytest.mark.parametrize("counts", [(50_000_000,), (3_000_000, 3_000_000)], ids=["one", "several"])
def test_lists_longer_than_any_vocabulary_are_refused_before_they_take_memory(
    tmp_path: Path, counts: tuple[int, ...]
) -> None:
    path = tmp_path / "long.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(counts)))
        for number, count in enumerate(counts):
            file.write(text(f"x{number}") + struct.pack("<IIQ", 9, 0, count))
            file.seek(count, 1)  # takes no place on the disk
        file.truncate()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="damaged"):
            gguf_header(path)
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()


def _written(settings: list[tuple[str, Any]], tensors: list[tuple[str, tuple[int, ...], int, int]]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings))
    head += b"".join(text(name) + value(said) for name, said in settings)
    for name, shape, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return head + bytes(-len(head) % 32) + bytes(4096)


ONE = ("token_embd.weight", (32, 4), 0, 0)


@pytest.mark.parametrize(
    ("settings", "tensors"),
    [
        ([("general.architecture", "gpt2")], [ONE]),
        ([], [ONE, ("token_embd.weight", (32, 4), 0, 512)]),
        ([], [("token_embd.weight", (2**63,) * 8, 99, 0)]),
        ([], [("token_embd.weight", (2**62, 2), 0, 0)]),
    ],
    ids=["a setting twice", "a tensor twice", "numbers without count", "one number too many"],
)
def test_what_two_readers_would_take_otherwise_is_damaged(
    tmp_path: Path, settings: list[tuple[str, Any]], tensors: list[tuple[str, tuple[int, ...], int, int]]
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(_written(list(SETTINGS.items()), [ONE]))
    assert gguf_header(path).tensors.keys() == {"token_embd.weight"}
    path.write_bytes(_written([*SETTINGS.items(), *settings], tensors))
    with pytest.raises(InvalidInput, match="damaged: it has"):
        gguf_header(path)
