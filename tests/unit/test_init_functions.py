"""`gradatim init` and models that are functions: what they open is named, and what is left out is told why."""

from __future__ import annotations

import numpy as np
from init_project import contract_of

from gradatim.projects.init import propose

LOAD = """\
from pathlib import Path

import numpy as np


def load():
    here = Path(__file__).parent
    w = np.load(here / "weights.npz")["w"]
    b = np.loadtxt(here / "tables" / "bias.txt")

    def predict(inputs):
        return {"scores": inputs["x"] @ w + b}

    return predict
"""


def lay_down(folder, text: str) -> None:
    draw = np.random.default_rng(0)
    w, x = draw.normal(size=(5, 3)), draw.normal(size=(120, 5)).astype(np.float32)
    (folder / "tables").mkdir()
    np.savez(folder / "weights.npz", w=w)
    np.savetxt(folder / "tables" / "bias.txt", np.zeros(3))
    np.savez(folder / "test.npz", x=x, label=(x @ w).argmax(axis=1))
    (folder / "serve.py").write_text(text)


def test_the_files_that_a_function_opens_are_named_in_the_contract(tmp_path):
    lay_down(tmp_path, LOAD)
    proposal = propose(tmp_path)
    contract = contract_of(proposal).parts
    assert contract.model.factory == "serve:load"
    assert set(contract.model.files) == {"weights.npz", "tables/bias.txt"}
    assert contract.task.type == "classification"
    assert not proposal.notes


def test_a_function_that_takes_bare_arrays_is_left_out_and_told_what_it_is_called_with(tmp_path):
    lay_down(
        tmp_path,
        LOAD.replace(
            '(inputs):\n        return {"scores": inputs["x"] @ w + b}', "(x):\n        return x @ w + b"
        ),
    )
    proposal = propose(tmp_path)
    assert not proposal.choice.exists
    (note,) = [note for note in proposal.notes if "serve:load" in note]
    assert "serve.py:12" in note
    assert "a dict of named arrays" in note
