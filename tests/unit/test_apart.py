"""What a process with the user's code may say is believed as far as it is what ours would say, and is refused in a sentence beyond that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.code.apart import Apart
from gradatim.errors import GradatimError, InvalidInput
from gradatim.timing.contestant import Contestant, Worker, save_inputs

SPOILED = """\
import os, struct

def answer():
    told = {told!r}
    for number in range(3, 30):
        try:
            if "pipe" in os.readlink(f"/proc/self/fd/{{number}}"):
                os.write(number, struct.pack("<QQ", len(told), {size}) + told)
        except OSError:
            pass
    os._exit(0)
"""


def mapping(**items: Any) -> dict[str, Any]:
    return {"map": [[key, value] for key, value in items.items()]}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the kernel tells no process's files")
@pytest.mark.parametrize(
    ("told", "size"),
    [
        (mapping(said=mapping()), 0),
        (mapping(said=3), 0),
        (mapping(said=mapping(other={"list": []})), 0),
        (mapping(said=mapping(made="x", length=None)), 0),
        (mapping(said=mapping(made=1, length="many")), 0),
        (mapping(said=mapping(made=1)), 0),
        (mapping(error={"list": []}, text=None), 0),
        (mapping(error=mapping(), text=mapping()), 0),
        (3, 1 << 62),
        (3, (1 << 64) - 1),
        ({"array": "<f8", "shape": [-1]}, 0),
        ({"array": "<f8", "shape": [1 << 70]}, 0),
        ({"array": ["f8", "O"], "shape": []}, 0),
        ({"map": [[{"list": []}, 3]]}, 0),
        ({"objects": [1], "shape": [1 << 50]}, 0),
        ({"none": 1}, 0),
    ],
    ids=str,
)
def test_an_answer_that_is_none_of_ours_is_refused_in_a_sentence(
    tmp_path: Path, told: Any, size: int
) -> None:
    text = json.dumps(told).encode()
    (tmp_path / "spoiled.py").write_text(SPOILED.format(told=text, size=size))
    with pytest.raises(GradatimError, match=r"^(?:The process of )?`spoiled:answer` "):
        Apart("spoiled:answer", tmp_path)()


TIMED = """\
import os

def model():
    for number in range(3, 30):
        try:
            if "pipe" in os.readlink(f"/proc/self/fd/{{number}}"):
                os.write(number, {told!r})
        except OSError:
            pass
    os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the kernel tells no process's files")
@pytest.mark.parametrize(
    "told", ["{bad", "{}", '{"error": []}', '{"error": "nothing", "text": "x"}', '{"error": "InvalidInput"}', '{"start": 1, "more": 2}'],
)  # fmt: skip
def test_what_a_timed_model_says_in_the_place_of_its_timer_is_refused_in_a_sentence(
    tmp_path: Path, told: str
) -> None:
    (tmp_path / "spoiled.py").write_text(TIMED.format(told=told.encode() + b"\n"))
    inputs = save_inputs(tmp_path / "x.npz", {"x": np.zeros((1, 2), np.float32)})
    contestant = Contestant(
        "spoiled", Path("spoiled:model"), tmp_path, format="python", factory="spoiled:model"
    )
    with (
        Worker(contestant, inputs, tmp_path) as worker,
        pytest.raises(InvalidInput, match="could not be timed"),
    ):
        worker.opened()
