"""What a ``.keras`` file holds, read without Keras: is it harmless, what does it take, what has it learnt?

``config.json`` says which classes are made with which settings, and Keras imports what it names. So every class must be one
of Keras's own that only compute. ``model.weights.h5`` must hold its numbers itself.

Sources: ``keras.src.saving`` (``saving_lib``, ``serialization_lib``) of Keras 3.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gradatim.errors import needs
from gradatim.models import pickles
from gradatim.models.layouts import read_archive
from gradatim.models.predictor import refine
from gradatim.models.weights import has_nonfinite
from gradatim.signature import Inspection, Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

WEIGHTS = "model.weights.h5"
_MEMBERS = re.compile(r"metadata\.json|config\.json|model\.weights\.h5|assets/.+")
_LARGEST_TABLE = 64 << 20
_LARGEST_ASSET = 128 << 20
_MOST_UNPACKED = 1 << 28
_RATIO = 8
"""Bytes of unpacked weights in any file, and how many times its own size beyond that."""

_LAYERS = frozenset(
    """
Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D
AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average
AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization Bidirectional CategoryEncoding
CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization
Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D
GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D
GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing
Hashing Identity InputLayer IntegerLookup LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPool1D
MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply
Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter
RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation
RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D
SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D SpatialDropout2D
SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract TextVectorization TimeDistributed UnitNormalization
UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
""".split()  # noqa: SIM905 (names, not code)
)
"""Layers of Keras that only compute. Lambda, TorchModuleWrapper, JaxLayer, FlaxLayer hold Python, TFSMLayer opens a folder."""

_ACTIVATIONS = frozenset(
    """
celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid log_softmax
mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh
tanh_shrink threshold
""".split()  # noqa: SIM905 (names, not code)
)
_CLASSES = {
    "keras": re.compile("Sequential|Functional|Model|DTypePolicy|FloatDTypePolicy|DTypePolicyMap|Quantized\\w*DTypePolicy"),
    "keras.models": re.compile("Sequential|Functional|Model"),
    "keras.src.models.functional": re.compile("Functional"),
    "keras.dtype_policies": re.compile("\\w*DTypePolicy|DTypePolicyMap"),
    "keras.layers": re.compile("|".join(sorted(_LAYERS))),
    "keras.random": re.compile("SeedGenerator"),
    "keras.src.backend.common.keras_tensor": re.compile("KerasTensor"),
    **dict.fromkeys(
        (
            "keras.initializers", "keras.regularizers", "keras.constraints", "keras.quantizers", "keras.losses", "keras.metrics",
            "keras.optimizers", "keras.optimizers.schedules",
        ),
        re.compile("[A-Z]\\w*"),
    ),
    **{f"keras.src.ops.{part}": re.compile("[A-Z]\\w*") for part in ("numpy", "nn", "math", "linalg", "image", "core")},
}  # fmt: skip
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}
"""What stands for a value."""

_OPENED = ("vocabulary", "idf_weights")
"""Settings by which a layer would open a file, where they are a text."""


class _Doubt(Exception):
    """Why an archive is not proven harmless."""


def vouch_for_keras(source: ModelSource) -> dict[Path, str | None]:
    """Why a model is not proven harmless; None where it is.

    Raises:
        EnvironmentLacks: h5py is missing, by which its weights are looked through.
    """
    try:
        with source.path.open("rb") as file:
            archive = _opened(file)
            _check_classes(_table(archive, "config.json"))
            _check_assets(archive)
            _check_weights(archive, source.path.stat().st_size)
    except _Doubt as found:
        return {source.path: str(found)}
    return {source.path: None}


def look_at_keras(known: Inspection, source: ModelSource, signature: Callable[[], Signature]) -> Inspection:
    """What ``config.json`` and the weights tell; where the first does not name the inputs, the model is loaded for them."""
    with source.path.open("rb") as file, zipfile.ZipFile(file) as archive:
        config, about = _table(archive, "config.json"), _table(archive, "metadata.json")
        nonfinite, parameters = [], 0
        for name, numbers in _learnt(archive):
            parameters += numbers.size
            if has_nonfinite(numbers.dtype.name, [numbers.tobytes()], bound=not numbers.shape):
                nonfinite.append(name)
    own = signature_in(config)
    own = own and refine(source.name, own, source.signature)
    return replace(
        known,
        parameters=parameters,
        nonfinite=tuple(nonfinite),
        producer=f"keras {about.get('keras_version', '')}".strip(),
        signature=own or signature(),
    )


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        archive = read_archive(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _Doubt(pickles.BROKEN) from error
    if foreign := [name for name in archive.namelist() if not _MEMBERS.fullmatch(name)]:
        raise _Doubt(f"not as Keras writes it: it holds {foreign[0]}")
    return archive


def _table(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > _LARGEST_TABLE:
        raise _Doubt(pickles.TOO_MUCH)
    try:
        table = json.loads(
            archive.read(name), object_pairs_hook=_plain
        )  # which lets infinities pass, as Keras writes them
    except (ValueError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise _Doubt(f"{name} in it is no plain JSON") from error
    if not isinstance(table, dict):
        raise _Doubt(f"{name} in it is no table")
    return table


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _check_classes(config: dict[str, Any]) -> None:
    """Let pass what only computes. How it was compiled does not count: that is not loaded."""
    waiting: list[Any] = [{key: value for key, value in config.items() if key != "compile_config"}]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            _check_class(value)
            waiting += value.values()


def _check_class(entry: dict[str, Any]) -> None:
    if not {"class_name", "module", "registered_name", "spec_name"} & set(entry):
        return
    name, module, own = entry.get("class_name"), entry.get("module"), entry.get("registered_name")
    settings = entry.get("config")
    said = settings.get("name", "") if isinstance(settings, dict) else ""
    called = f" `{said}`" if isinstance(said, str) and said.isprintable() and said else ""
    if name in _VALUES and "spec_name" not in entry:
        return
    if name in ("Lambda", "__lambda__"):
        raise _Doubt(f"a Lambda layer{called}, whose code is Python")
    if name == "function":
        if (
            settings not in _ACTIVATIONS
            or module not in ("builtins", "keras.activations")
            or own not in (None, name, settings)
        ):
            raise _Doubt(f"a function of Python's, {_shown(settings)} of {_shown(module)}")
        return
    known = _CLASSES.get(module) if isinstance(module, str) else None
    if (
        known is None
        or not isinstance(name, str)
        or not known.fullmatch(name)
        or own not in (None, name)
        or "spec_name" in entry
    ):
        kind = "an object of its own" if own not in (None, name) or known is None else "an object"
        raise _Doubt(
            f"{kind}{called}, {_shown(own if own not in (None, name) else name)} of {_shown(module)}, which is not known to compute alone"
        )
    opened = [
        settings[key] for key in _OPENED if isinstance(settings, dict) and isinstance(settings.get(key), str)
    ]
    if opened:
        raise _Doubt(f"the layer{called} reads a file, {_shown(opened[0])}, that does not belong to it")


def _shown(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, str) else "something without a name"


def _check_assets(archive: zipfile.ZipFile) -> None:
    left = _LARGEST_ASSET
    for info in archive.infolist():
        if not info.filename.startswith("assets/") or info.is_dir():
            continue
        left -= info.file_size
        if left < 0:
            raise _Doubt(pickles.TOO_MUCH)
        if why := pickles.doubt_within(archive.read(info), info.filename):
            raise _Doubt(f"{info.filename} in it is {why}")


def _check_weights(archive: zipfile.ZipFile, size: int) -> None:
    """Its numbers must stand in the file itself, plain: neither linked, nor mapped together, nor unpacked to more."""
    if WEIGHTS not in archive.namelist():
        raise _Doubt(f"not as Keras writes it: {WEIGHTS} is missing")
    if archive.getinfo(WEIGHTS).file_size > _MOST_UNPACKED + _RATIO * size:
        raise _Doubt(pickles.TOO_MUCH)
    try:
        with _weights(archive) as tables:
            if set(tables.attrs) & {"model_config", "training_config"}:
                raise _Doubt(f"{WEIGHTS} in it describes another model")
            for name, item, link in _items(tables):
                if why := _outside(item, link):
                    raise _Doubt(f"{WEIGHTS} in it holds {_shown(name)}, {why}")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise _Doubt(f"{WEIGHTS} in it is broken") from error


def _outside(item: Any, link: Any) -> str | None:
    """Where else the numbers of an item of the weights lie, if they do."""
    kind = type(item).__name__
    if type(link).__name__ != "HardLink":
        return "a link to elsewhere"
    if kind == "Group":
        return None
    if kind != "Dataset" or item.external or item.is_virtual or item.dtype.hasobject:
        return "whose numbers lie elsewhere"
    plain = item.id.get_storage_size() >= item.size * item.dtype.itemsize
    return None if plain else f"which is {pickles.TOO_MUCH}"


def _weights(archive: zipfile.ZipFile) -> Any:
    with needs("h5py", "tensorflow", "Reading a Keras model"):
        import h5py
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (h5py reads it as long as it is open; no zip lets it jump quickly)
    with archive.open(WEIGHTS) as member:
        shutil.copyfileobj(member, copy)
    return h5py.File(copy, "r")


def _items(group: Any, inside: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Everything below a group: its name, what it is, and the link to it; what a link leads to elsewhere is not opened."""
    waiting, seen = [(inside, group)], set[Any]()
    while waiting:
        above, here = waiting.pop()
        for name in here:
            link = here.get(name, getlink=True)
            plain = type(link).__name__ == "HardLink"
            item: Any = here[name] if plain else None
            yield f"{above}{name}", item, link
            if type(item).__name__ == "Group" and item.id not in seen:
                seen.add(item.id)
                waiting.append((f"{above}{name}/", item))


def _learnt(archive: zipfile.ZipFile) -> Iterator[tuple[str, Any]]:
    """The numbers that the model computes with; what its training needed besides is left out."""
    with _weights(archive) as tables:
        for name, item, _ in _items(tables):
            if type(item).__name__ == "Dataset" and not name.startswith("optimizer/"):
                yield name, item[()]


def signature_in(config: dict[str, Any]) -> Signature | None:
    """Inputs with dtypes and sizes, and the names of outputs, as a model of layers says them; None where it does not."""
    inner = config.get("config") or {}
    layers = {
        layer["config"].get("name"): layer
        for layer in inner.get("layers", [])
        if isinstance(layer.get("config"), dict)
    }
    if config.get("class_name") == "Sequential" and layers:
        names = [*layers]
        first, last = [(names[0], names[0])], [(names[-1], names[-1])]
    else:
        first, last = _ends(inner.get("input_layers")), _ends(inner.get("output_layers"))
    inputs = [_input(name, layers.get(layer)) for name, layer in first]
    if not inputs or not last or None in inputs:
        return None
    outputs = [name for name, _ in last]
    return Signature(
        tuple(spec for spec in inputs if spec),
        tuple(TensorSpec(_once(outputs, at), "unknown", None) for at in range(len(outputs))),
    )


def _once(names: list[str], at: int) -> str:
    """A name that stands once: where a layer gives several outputs, the later ones are numbered."""
    before = names[:at].count(names[at])
    return f"{names[at]}_{before}" if before else names[at]


def _ends(told: Any, key: str = "") -> list[tuple[str, str]]:
    """(name, layer) of each end: ``["layer", 0, 0]``, or a list or a table of such, whose keys are the names then."""
    if isinstance(told, dict):
        return [end for name in sorted(told) for end in _ends(told[name], name)]
    if isinstance(told, list) and len(told) == 3 and isinstance(told[0], str):
        return [(key or told[0], told[0])]
    return [end for each in told for end in _ends(each)] if isinstance(told, list) else []


def _input(name: str, layer: Any) -> TensorSpec | None:
    if not isinstance(layer, dict) or layer.get("class_name") != "InputLayer":
        return None
    settings = layer["config"]
    shape = settings.get("batch_shape", settings.get("batch_input_shape"))
    dtype = settings.get("dtype", "float32")
    if not isinstance(shape, list) or not isinstance(dtype, str):
        return None
    return TensorSpec(
        name, "str" if dtype == "string" else dtype, ("batch" if shape[0] is None else shape[0], *shape[1:])
    )
