"""Two builds of ONNX Runtime in one environment: they share a folder, and which of them runs is chance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

from gradatim.ci.occasion import extras_of
from gradatim.contract.model_formats import on_gpu
from gradatim.contract.schema import HEAVY, Contract
from gradatim.registry.checkup import Surprise

_TRAP = "two runtimes"
_BUILDS = "gpu|directml|openvino|rocm|migraphx|qnn|training|silicon|vitisai"
_BUILD = re.compile(rf"(onnxruntime(?:[-_.](?:{_BUILDS}))?)(?![\w.-])", re.IGNORECASE)
_BRINGS = {"onnx": "onnxruntime", "onnx-gpu": "onnxruntime-gpu"}


def check_runtimes(contract: Contract, files: Iterable[Path]) -> Iterator[Surprise]:
    """What is installed here, and what the user's own requirements add to what the jobs of a contract install."""
    here = sorted(
        {one.metadata["Name"].lower() for one in distributions() if _built(one.metadata["Name"] or "")}
    )
    if len(here) > 1:
        text = f"{' and '.join(here)} are both installed and overwrite each other. Take both away, then install one."
        yield Surprise(_TRAP, "this environment", text)
    extras = set(extras_of(contract))
    stages = (None, *contract.stages)
    if contract.model.device != "cpu" and any(
        contract.runner_of(step, at) for step in HEAVY for at in stages
    ):
        extras |= set(on_gpu(extras))
    brought = {_BRINGS[extra] for extra in extras if extra in _BRINGS}
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            build = _built(line.strip())
            if beside := sorted(brought - {build}) if build else []:
                text = f"The kit's jobs install {beside[0]}, and of two builds in one environment files of both remain. "
                yield Surprise(
                    _TRAP,
                    f"{file.name}:{number}",
                    f"{text}Take {build} out: jobs on a GPU get theirs by themselves.",
                )


def _built(text: str) -> str | None:
    """The build of ONNX Runtime that a requirement or a distribution is, as an index spells it."""
    found = _BUILD.match(text)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else None
