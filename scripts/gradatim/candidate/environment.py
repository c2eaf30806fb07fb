"""Where evidence was made: machine, packages, CI run, commit."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gradatim.ci import Place
from gradatim.code.confinement import isolation
from gradatim.timing.machine import this_machine

_PACKAGES = (
    "numpy", "scipy", "scikit-learn", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "transformers", "tokenizers", "peft",
    "compressed-tensors", "gguf", "xllamacpp", "sacrebleu", "jiwer", "rouge-score",
)  # fmt: skip


def environment(
    ci: str, place: Place, commit: str | None, revision: Mapping[str, Mapping[str, str | int]]
) -> dict[str, Any]:
    """What evidence records of its surroundings: no clock, no user, no host name; what kept the user's code apart.

    Args:
        ci: name of the CI system.
        place: branch and run.
        commit: id of the commit that is checked out; None without a repository.
        revision: where the commit came from, by the name of the other version control; empty for git's own.
    """
    machine = this_machine()
    found: dict[str, Any] = {
        "system": machine.system,
        "machine": f"{machine.cpu}, {machine.cores} cores",
        "python": platform.python_version(),
        "packages": _versions(_PACKAGES),
        "ci": ci,
        "isolation": isolation(),
    }
    told = {"run": place.url, "branch": place.branch, "commit": commit, **revision}
    return {**found, **{key: value for key, value in told.items() if value}}


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
