"""Evaluation rows that stand in the training text: found in one pass of flat memory, and scored apart."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.data import open_data
from gradatim.data.overlap import OVERLAP
from gradatim.errors import InvalidInput
from gradatim.steps import evaluate

WORDS = [f"w{n}" for n in range(3000)]


def sentence(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(WORDS, k=words))


def told(root: Path, rows: list[Any], **training: str | bytes) -> list[str]:
    (root / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for name, text in training.items():
        path = root / name.replace("__", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    files = [root / name.replace("__", ".") for name in training]
    data = open_data("rows.jsonl", root=root, label=None, training=files)
    return [str(value) for value in data.slice_values(OVERLAP)]


def test_rows_are_told_by_the_longest_run_of_words_that_training_holds(tmp_path: Path) -> None:
    dice = random.Random(0)
    whole, part, new = (sentence(dice, 20) for _ in range(3))
    corpus = f"{sentence(dice, 50)} {whole.upper()}! {sentence(dice, 50)}, {' '.join(part.split()[3:12])}; {sentence(dice, 9)}"
    rows = [{"prompt": whole}, {"prompt": part}, {"prompt": new}, {"prompt": "too few words"}]
    wanted = ["13 words", "8 words", "none", "too short"]
    assert told(tmp_path, rows, corpus__txt=corpus) == wanted
    assert told(tmp_path, rows, packed__txt__gz=gzip.compress(corpus.encode())) == wanted
    lines = json.dumps({"text": corpus, "source": "web"}) + "\nno json at all\n"
    assert told(tmp_path, rows, lines__jsonl=lines) == wanted
    assert told(tmp_path, [{"prompt": whole.replace(" ", ", ")}], corpus__txt=corpus) == ["13 words"]


def test_a_run_is_found_wherever_pieces_and_lines_end(tmp_path: Path) -> None:
    dice = random.Random(1)
    whole = sentence(dice, 13)
    for shift in range(0, 120, 7):
        corpus = "x" * ((1 << 16) - shift - 1) + " " + whole.replace(" ", "\n")
        assert told(tmp_path, [{"prompt": whole}], corpus__txt=corpus) == ["13 words"], shift


def test_what_every_row_shares_is_no_contamination(tmp_path: Path) -> None:
    dice = random.Random(2)
    system, asked = sentence(dice, 20), sentence(dice, 20)
    turns = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    assert told(tmp_path, [{"messages": turns}], corpus__txt=system) == ["none"]
    assert told(tmp_path, [{"messages": turns}], corpus__txt=asked) == ["13 words"]


def test_memory_does_not_grow_with_the_training_text(tmp_path: Path) -> None:
    dice = random.Random(3)
    rows = [{"prompt": sentence(dice, 20)} for _ in range(10)]
    text = sentence(dice, 20_000)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    peaks = []
    for times in (2, 12):
        (tmp_path / f"{times}.txt").write_text(" ".join([text] * times))
        tracemalloc.start()
        data = open_data("rows.jsonl", root=tmp_path, label=None, training=[tmp_path / f"{times}.txt"])
        assert set(data.slice_values(OVERLAP)) == {"none"}
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)


def test_a_training_text_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}')
    with pytest.raises(InvalidInput, match=r"data\.training"):
        open_data("rows.jsonl", root=tmp_path, label=None, training=[tmp_path / "none.txt"])


CONTRACT = """
model: {name: parrot, factory: "parrot:make"}
data: {evaluation: test.jsonl, training: [corpus.txt]}
task: {type: generation, scorers: [exact_match]}
gates: {"exact_match[training_overlap=none]": {at_least: 50%}}
stages: {production: {branch: main}}
"""
PARROT = """
import json
import numpy as np

def make():
    known = open("corpus.txt").read()
    def answer(inputs):
        asked = [json.loads(line)["prompt"] for line in inputs["request"]]
        return {"text": np.array([prompt.split()[-1] if prompt in known else "?" for prompt in asked], object)}
    return answer
"""


def test_what_was_learnt_by_heart_is_scored_apart(tmp_path: Path) -> None:
    dice = random.Random(4)
    prompts = [sentence(dice, 15) for _ in range(20)]
    rows = [{"prompt": prompt, "label": prompt.split()[-1]} for prompt in prompts]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "corpus.txt").write_text(". ".join(prompts[:12]))
    (tmp_path / "parrot.py").write_text(PARROT)
    (tmp_path / "gradatim.yml").write_text(
        CONTRACT.replace('"parrot:make"', '"parrot:make", files: [corpus.txt]')
    )
    candidate = Candidate(read_contract(tmp_path / "gradatim.yml"), Laptop())
    before = candidate.digests.data("evaluation")
    candidate.replaced.__dict__["release"] = None
    found = {m.where: m for m in evaluate.run(candidate).measurements if m.name == "exact_match"}
    clean, learnt = found["training_overlap=none"], found["training_overlap=13 words"]
    assert (clean.value, clean.n, learnt.value, learnt.n) == (0.0, 8, 1.0, 12)
    assert None not in (clean.low, clean.high, learnt.low, learnt.high)
    (tmp_path / "corpus.txt").write_text("nothing of it")
    assert Candidate(read_contract(tmp_path / "gradatim.yml"), Laptop()).digests.data("evaluation") != before


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_line_nested_beyond_measure_is_read_as_text(depth: int, tmp_path: Path) -> None:
    whole = sentence(random.Random(5), 13)
    line = "[" * depth + json.dumps(whole) + "]" * depth
    assert told(tmp_path, [{"prompt": whole}], lines__jsonl=line) == ["13 words"]


def test_a_packed_training_text_that_is_broken_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(random.Random(6).randbytes(1000)))
    packed[20:200] = bytes(180)
    with pytest.raises(InvalidInput, match="cannot be read"):
        told(tmp_path, [{"prompt": "a"}], corpus__txt__gz=bytes(packed))
