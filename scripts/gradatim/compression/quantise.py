"""Carrying out a recipe: an ONNX model in, a smaller one out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated
from gradatim.compression.centring import centre
from gradatim.compression.forms import FORMS, fitting, take
from gradatim.compression.recipe import FORMS_OF, GGUF, Recipe, forms_of
from gradatim.errors import InvalidInput

if TYPE_CHECKING:
    from onnx import ModelProto


def quantise(recipe: Recipe, calibration: Calibrated) -> ModelProto:
    """Apply a recipe to the model of the calibration.

    Raises:
        InvalidInput: the method finds nothing to work on.
        EnvironmentLacks: a package is missing.
    """
    model = copy.deepcopy(calibration.model)
    if recipe.method == "fp16":
        return _half(model)
    if recipe.method in GGUF:
        raise InvalidInput(f"{recipe.method} is a type of GGUF files")
    forms = _forms(model, recipe)
    model = take(model, forms, calibration)
    if any(FORMS[form].outputs for form in forms.values()):
        centre(model, calibration.model, calibration.batches)
    return model


def _forms(model: ModelProto, recipe: Recipe) -> Mapping[str, str]:
    operators = {node.name: node.op_type for node in graph.all_nodes(model)}
    forms = forms_of(recipe, operators, fitting(model))
    computing = any(FORMS[form].inputs for form in FORMS_OF[recipe.method].values())
    if not any(FORMS[form].inputs or not computing for form in forms.values()):
        if recipe.fallback:
            raise InvalidInput("with so many changes none of its nodes computes in integers any more")
        kinds = "Conv, MatMul or Gemm" if recipe.method == "int8-static" else "MatMul or Gemm"
        raise InvalidInput(
            f"there is no {kinds} with constant weights at the graph's top for {recipe.method} to work on"
            if computing
            else f"there is no constant weight of a kind that {recipe.method} can store"
        )
    return forms


def _half(model: ModelProto) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=False)


def quiet_logs() -> None:
    """The quantisers advise on every call; a person sees our reasons instead."""
    logging.disable(logging.WARNING)
