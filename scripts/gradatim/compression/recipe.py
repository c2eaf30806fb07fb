"""What can be done to a model to make it smaller or faster, spelled out so that it can be repeated."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from gradatim.code import closure_digest
from gradatim.compression.ranges import RANGES
from gradatim.errors import UsageError
from gradatim.files import digest_of

Method = Literal[
    "int8-dynamic",
    "int8-static",
    "int8-weights",
    "int4-weights",
    "fp16",
    "bf16",
    "nncf",
    "litert",
    "litert-dynamic",
    "litert-int8",
    "q8_0",
    "q5_1",
    "q5_0",
    "q4_1",
    "q4_0",
    "pruned",
]

METHODS: tuple[Method, ...] = get_args(Method)
"""Every method there is.

``int8-dynamic``: MatMul and Gemm with int8 weights per channel, activations quantised call by call.
Convolutions compute in floats: quantised this way they run several times slower. ``int8-static``: Conv, MatMul
and Gemm with activations in uint8 by ranges seen on calibration data, weights in int8 per channel.
``int8-weights`` and ``int4-weights``: MatMul and Gemm have their weights in blocks that the runtime computes with.
``fp16``: half precision, of use on GPUs. ``bf16``: a PyTorch model that computes in bfloat16. ``nncf``: NNCF's quantisation after training, with accuracy control where that alone loses
too much. ``litert``, ``litert-dynamic`` and ``litert-int8``: a model of PyTorch or TensorFlow written as .tflite. ``q8_0`` to
``q4_0``: a GGUF file in these types of ggml. ``pruned``: a PyTorch model that has lost channels, or a language model that has lost layers, and learnt to answer as before, from which the others go on. The others store embedding
tables (``int4-weights``: in int4) and the weights of what they leave in floats in int8.
"""

LITERT = {"litert": "float", "litert-dynamic": "dynamic", "litert-int8": "int8"}
"""The methods that write LiteRT: what each computes with."""

BF16 = "bf16"
"""The method that writes a PyTorch model as a program of PyTorch's."""

AS_GIVEN = (*LITERT, BF16)
"""The methods that work on the model as it was given, and not on ONNX."""

PRUNED = "pruned"
"""The method that trains: it takes channels out of the model as it was given, more or fewer, and writes ONNX."""

STUDENT = "student"
"""The recipe that trains a network of the user's own."""

LEARNT = (PRUNED, STUDENT)
"""What is trained to answer as the model does."""

NNCF = "nncf"
"""The method that another library carries out, as a whole."""

EXPORT = "onnx"
"""The recipe that writes a model of another format as ONNX, from which the methods go on."""

DEFAULT_METHODS: tuple[Method, ...] = ("int8-dynamic", "int8-static", "int8-weights", "int4-weights")

STORED = ("int8-weights", "int4-weights", PRUNED)
"""What can be done to a model that is asked for text: its weights stored in fewer bits, or layers taken out in place of channels."""

GGUF: tuple[Method, ...] = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
"""What can be done to one in a GGUF file: most of its tensors in one of these types of ggml."""

_STORED = {
    "Conv": "stored8",
    "ConvTranspose": "stored8",
    "LSTM": "stored8",
    "GRU": "stored8",
    "RNN": "stored8",
    "Gather": "rows8",
}
FORMS_OF: Mapping[str, Mapping[str, str]] = {
    "int8-dynamic": _STORED | {"MatMul": "dynamic", "Gemm": "dynamic"},
    "int8-static": _STORED | {"Conv": "static", "MatMul": "static", "Gemm": "static"},
    "int8-weights": _STORED | {"MatMul": "blocks8", "Gemm": "blocks8"},
    "int4-weights": _STORED | {"MatMul": "blocks4", "Gemm": "blocks4", "Gather": "rows4"},
}
"""Method -> operator -> the form that its nodes take."""

REVISION = 17
"""Of the code that carries recipes out: what an older one left in a journal does not count."""


@dataclass(frozen=True)
class Stages:
    """Into how many stages a form is cut that run one after another, and what they share evenly."""

    parts: int
    by: Literal["size", "time"]


@dataclass(frozen=True)
class Recipe:
    """A method with its settings.

    Attributes:
        method: one of METHODS, or the user's own; with ``stages``, the form that is cut.
        fallback: nodes that take another form than the method's, and which, since the quality cannot bear it there; of two
            forms for one node the later one counts. ``float``: none.
        reduce_range: 7-bit weights, for x86 processors without VNNI, whose 16-bit sums overflow otherwise.
        unpacked: for ``int8-weights``: all weights are unpacked when the model is opened. The file is small,
            the model as fast as before; for large batches and small products, on which blocks are slow.
        code: digest of the user's code, where the method is a ``module:function`` of theirs; of the form that is cut.
        stages: into which that is.
        share: for ``pruned``: the part of each layer's channels that is taken out.
        shorter: for ``pruned``: how many layers are taken out besides.
        base: name of the form that learnt from which this one is made, in place of the model itself.
        student, train: the user's functions that make the network, and train it.
        ranges: for ``int8-static``: of which kind its ranges are (``ranges.RANGES``), where they are not all that was seen.
    """

    method: str
    fallback: tuple[tuple[str, str], ...] = ()
    reduce_range: bool = False
    unpacked: bool = False
    code: str = ""
    stages: Stages | None = None
    share: float = 0.0
    shorter: int = 0
    base: str = ""
    student: str = ""
    train: str = ""
    ranges: str = ""

    @property
    def name(self) -> str:
        """``int8-static``; with other forms for some nodes, ``int8-static-mixed-4`` says how many changes that took.

        ``pruned-50`` has lost half of the channels, ``pruned-50-shorter-1`` a layer besides, ``pruned-50-int8-static`` is made from it.
        """
        name = re.sub(r"[:.]", "-", self.method) + ("-unpacked" if self.unpacked else "")
        name += f"-{self.ranges}" if self.ranges else ""
        name = f"{name}-{100 * self.share:.0f}" if self.share else f"{self.base}-{name}".lstrip("-")
        name += f"-shorter-{self.shorter}" if self.shorter else ""
        if self.stages is not None:
            return f"{name}-split-{self.stages.parts}"
        return f"{name}-mixed-{len(self.fallback)}" if self.fallback else name

    def model_in(self, folder: Path, file: str) -> Path:
        """What is opened of the form, where forms in ONNX are called ``file``: its file, or the folder of its stages."""
        if self.stages:
            return folder
        suffix = ".pt2" if self.method == BF16 else ".tflite" if self.method in LITERT else ""
        return folder / (f"{Path(file).stem}{suffix}" if suffix else file)

    def record(self) -> dict[str, Any]:
        """As it stands in the evidence."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value
            or name not in ("code", "stages", "share", "shorter", "base", "student", "train", "ranges")
        }

    @property
    def digest(self) -> str:
        """Digest of the settings and of the revision of the code that carries them out."""
        return digest_of({**asdict(self), "revision": REVISION})


def recipes_for(methods: tuple[str, ...], flags: tuple[str, ...]) -> list[Recipe]:
    """The plain recipes of the methods named, for a processor with these instruction sets.

    Raises:
        UsageError: a method is unknown.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise UsageError(f"Unknown compression method {unknown[0]!r}. Known: {', '.join(METHODS)}.")
    saturates = platform.machine() in ("x86_64", "AMD64") and not {"avx512_vnni", "avx_vnni"} & set(flags)
    return [
        Recipe(method, reduce_range=saturates and method in ("int8-dynamic", "int8-static"))
        for method in METHODS
        if method in methods
    ]


def with_own(
    recipes: Sequence[Recipe], root: Path, passes: Sequence[str], student: str | None, train: str | None
) -> list[Recipe]:
    """The recipes with the user's own functions below ``root``: passes, a student, and what trains that and pruned forms."""

    def code(*names: str | None) -> str:
        return "".join(closure_digest(root, name) for name in names if name)

    found = [
        replace(each, train=train, code=code(train)) if train and each.method == PRUNED else each
        for each in recipes
    ]
    found += [Recipe(name, code=code(name)) for name in passes]
    if student:
        found.append(Recipe(STUDENT, code=code(student, train), student=student, train=train or ""))
    return found


def remove_stale(out: Path, original: str, kept: Collection[str]) -> None:
    """Remove the variants that an earlier search left, for a model that it calls so, and this one did not accept."""
    names = "|".join((EXPORT, STUDENT, re.escape(original), *METHODS))
    kinds = "|".join(RANGES)
    pattern = re.compile(
        rf"(pruned-\d+(-shorter-\d+)?-|student-)?({names})(-\d+)?(-shorter-\d+)?(-unpacked)?(-({kinds}))?(-mixed-\d+)?(-split-\d+)?"
    )
    for path in out.iterdir():
        if path.is_dir() and pattern.fullmatch(path.name) and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def forms_of(
    recipe: Recipe, operators: Mapping[str, str], able: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Node -> the form that a recipe has it take; else, as in branches and loops, its weights are stored in 8 bits if they can be.

    Args:
        operators: node -> its operator.
        able: node -> the forms that it can take.
    """
    wanted = FORMS_OF[recipe.method]
    if recipe.unpacked:
        wanted = {operator: "stored8" if form == "blocks8" else form for operator, form in wanted.items()}
    forms = {
        node: next((form for form in (wanted[operators[node]], "rows8", "stored8") if form in fits), "float")
        for node, fits in able.items()
    }
    return {node: form for node, form in {**forms, **dict(recipe.fallback)}.items() if form != "float"}
