"""The process that tries contracts which nobody wrote yet: ``python -m gradatim.checks.rehearsal_worker``.

It reads JSON lines on stdin, each a contract's text, where it would lie and what is wanted of it, and answers each with a
JSON line on stdout; arrays go into a file. What the model itself prints goes to stderr. It ends with its parent.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.checks.rehearsal import Seen, look, rehearse
from gradatim.code.surroundings import allowed
from gradatim.contract.reading import contract_of
from gradatim.errors import GradatimError
from gradatim.evidence.codec import encode
from gradatim.models import UnreleasedFile
from gradatim.signature import Signature


def surroundings() -> dict[str, str]:
    """The environment that it is started with: what is tried is the user's code, too, and to look is to leave nothing behind."""
    return {**allowed(), "PYTHONDONTWRITEBYTECODE": "1"}


def main() -> int:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the model prints must not be taken for an answer
    for line in sys.stdin:
        try:
            wanted = json.loads(line)
        except ValueError:
            sys.stderr.write("This process is started by `gradatim init`; it is no command for people.\n")
            return 2
        answers.write(json.dumps(_answer(wanted)) + "\n")
        answers.flush()
    return 0


def _answer(wanted: dict[str, Any]) -> dict[str, Any]:
    works: dict[str, Callable[[Candidate, Path], dict[str, Any]]] = {
        "open": _open, "look": _look, "rehearse": _rehearse,
    }  # fmt: skip
    try:
        contract = contract_of(wanted["text"], Path(wanted["path"]))
        candidate = Candidate(contract, ci.detect())
        os.chdir(contract.root)  # after the imports, so that no file of the user's shadows a module
        return works[wanted["do"]](candidate, Path(wanted["arrays"]))
    except GradatimError as error:
        file = error.file if isinstance(error, UnreleasedFile) else None
        return {"error": str(error), "exit_code": error.exit_code, "file": file}


def _open(candidate: Candidate, _arrays: Path) -> dict[str, Any]:
    with candidate.model.open(candidate.model.path) as predictor:
        return {"signature": encode(predictor.signature)}


def _look(candidate: Candidate, arrays: Path) -> dict[str, Any]:
    seen = look(candidate)
    found = {f"output_{place}": values for place, values in enumerate(seen.outputs.values())}
    if seen.labels is not None:
        found["labels"] = seen.labels
    plain = {
        name: values.astype(np.str_) if values.dtype == object else values for name, values in found.items()
    }
    with arrays.open("wb") as file:
        np.savez(file, allow_pickle=False, **plain)
    told = {"outputs": list(seen.outputs), "seconds": seen.seconds, "rowless": list(seen.rowless)}
    return {"signature": encode(seen.signature), **told}


def read_seen(arrays: Path, record: dict[str, Any]) -> Seen:
    """What a look left, for the process that asked for it."""
    with np.load(arrays, allow_pickle=False) as found:
        outputs = {name: found[f"output_{place}"] for place, name in enumerate(record["outputs"])}
        labels = found["labels"] if "labels" in found.files else None
    return Seen(
        Signature.from_json(record["signature"]), outputs, labels, record["seconds"], tuple(record["rowless"])
    )


def _rehearse(candidate: Candidate, _arrays: Path) -> dict[str, Any]:
    return {
        "obstacles": [
            {
                "part": obstacle.part,
                "error": str(obstacle.error),
                "exit_code": obstacle.error.exit_code,
                "corruption": obstacle.corruption,
            }
            for obstacle in rehearse(candidate)
        ]
    }


if __name__ == "__main__":
    sys.exit(main())
