"""A folder of ONNX files that run one after another, as ``stages.json`` lists them.

``{"stages": ["stage-1.onnx", ...], "outputs": ["scores"]}``: each file is given what it names as its inputs, of the model's own
inputs and of what the files before it gave.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import read_json
from gradatim.models.onnx_runtime import open_onnx
from gradatim.models.predictor import Arrays, RuntimeModel, refine
from gradatim.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

LIST = "stages.json"


def open_stages(source: ModelSource) -> RuntimeModel:
    """Load every stage.

    Raises:
        InvalidInput: the list is broken, names what is not in the folder, or the stages do not fit together.
        EnvironmentLacks: as ``open_onnx``.
    """
    names, outputs = _listed(source)
    with contextlib.ExitStack() as stack:
        stages = [
            stack.enter_context(open_onnx(replace(source, path=source.path / name, signature=None)))
            for name in names
        ]
        inputs: dict[str, TensorSpec] = {}
        made: dict[str, TensorSpec] = {}
        for stage in stages:
            inputs |= {spec.name: spec for spec in stage.signature.inputs if spec.name not in made}
            made |= {spec.name: spec for spec in stage.signature.outputs}
        if lacking := [name for name in outputs if name not in made]:
            raise InvalidInput(
                f"{source.path / LIST} lists the output {lacking[0]}, which no stage gives. Cut it again."
            )
        own = Signature(tuple(inputs.values()), tuple(made[name] for name in outputs))
        release = stack.pop_all().close

    def call(given: Arrays) -> dict[str, NDArray[Any]]:
        values: dict[str, NDArray[Any]] = dict(given)
        for stage in stages:
            values |= stage(
                {spec.name: values[spec.name] for spec in stage.signature.inputs if spec.name in values}
            )
        return {name: values[name] for name in outputs}

    return RuntimeModel(
        source.name,
        refine(source.name, own, source.signature),
        call,
        device=source.device,
        threads=source.threads,
        release=release,
    )


def _listed(source: ModelSource) -> tuple[list[str], list[str]]:
    told = read_json(source.path / LIST)
    found = [_names(told.get(key)) if isinstance(told, dict) else [] for key in ("stages", "outputs")]
    if not all(found):
        raise InvalidInput(
            f"{source.path / LIST} must list `stages` and `outputs` by name. Cut the model again."
        )
    for name in found[0]:
        if PurePath(name).name != name or not (source.path / name).is_file():
            raise InvalidInput(f"{source.path / LIST} lists {name!r}, and no such file lies beside it.")
    return found[0], found[1]


def _names(told: Any) -> list[str]:
    """A list of names; empty for anything else."""
    return told if isinstance(told, list) and all(isinstance(name, str) for name in told) else []
