"""Open a model of any format as one Predictor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.contract.model_formats import FORMATS
from gradatim.errors import InvalidInput, UsageError
from gradatim.files import list_files
from gradatim.metrics.answers import REQUEST
from gradatim.models import formats, pickles
from gradatim.models.adapter import adapter_files
from gradatim.models.predictor import Arrays, Predictor
from gradatim.models.source import Means, ModelSource
from gradatim.signature import Signature

if TYPE_CHECKING:
    from typing_extensions import Unpack


def open_model(path: Path, *, root: Path, **means: Unpack[Means]) -> Predictor:
    """Load a model, ready to be called.

    Args:
        path: file, folder or ``module:function``; relative to ``root``.
        root: the project's folder, where the user's own code is found.
        means: how it is to be opened: see ``source.Means``.

    Raises:
        InvalidInput: there is no model, it is broken, or it brings a pickle that is not allowed.
        EnvironmentLacks: the runtime's package or the device is missing.
        UsageError: an unknown format or device.
    """
    source = find_source(path, root=root, **means)
    refuse_pickles(source)
    return open_source(source)


def find_source(
    path: Path,
    *,
    root: Path,
    project: Path | None = None,
    files: Sequence[Path] = (),
    format: str | None = None,  # noqa: A002 (the contract's word)
    adapter: Path | None = None,
    factory: str | None = None,
    command: Sequence[str] = (),
    endpoint: Mapping[str, Any] | None = None,
    signature: Signature | None = None,
    device: str = "cpu",
    threads: int = 1,
    allow_pickle: bool = False,
    autocast: str | None = None,
) -> ModelSource:
    """See what is at a path, without loading it; the arguments are ``open_model``'s.

    Raises:
        InvalidInput: there is no model, or it is not of the format that was asked for.
        UsageError: an unknown format or device.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"Unknown model format `{format}`. Known: {', '.join(FORMATS)}.")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UsageError(f"Unknown device `{device}`: say cpu, cuda or cuda:1.")
    where = path if path.is_absolute() else root / path
    if format == "python":
        found = "python"
    elif command or endpoint:
        found = "endpoint" if endpoint else "command"
    else:
        found = formats.detect_format(where, factory=factory is not None)
        if format is not None and found != format:
            raise InvalidInput(
                f"{where} is {found}, but the contract's `model.format` says {format}. Correct either."
            )
    if adapter is not None and found not in ("huggingface", "endpoint"):
        raise InvalidInput(f"{where} is {found}, and `model.adapter` is put on a Hugging Face folder alone.")
    if autocast is not None and found not in ("huggingface", "pt2", "torchscript", "safetensors", "pickle"):
        raise InvalidInput(
            f"{where} is {found}, and `model.autocast` ({autocast}) is for networks that PyTorch runs. Take it out of the contract, and "
            "give the model itself the type of numbers that it shall compute with."
        )
    if found == "python" and factory is None:
        factory = path.name
    return ModelSource(
        where,
        root,
        found,
        factory,
        signature,
        device,
        max(1, threads),
        allow_pickle,
        project,
        tuple(files),
        tuple(command),
        endpoint or {},
        root / adapter if adapter is not None else None,
        autocast,
    )


def refuse_pickles(source: ModelSource) -> None:
    """Stop before anything is loaded that an unpickler might run.

    Raises:
        InvalidInput: names the files.
    """
    if source.allow_pickle:
        return
    if found := doubts(source):
        raise InvalidInput(
            f"{source.path} brings {said_of(found)} Save the weights as safetensors, ONNX or .pt2; or, if you trust whoever made it, set `model.allow_pickle: true`."
        )


def doubts(source: ModelSource) -> dict[str, str]:
    """The files of a model that are not proven harmless, by name, with the reason; nothing is loaded.

    A model of the user's own (``python``) and the data that an ONNX model keeps outside of itself may be of any format.
    """
    path = source.path
    folder = source.folder if source.adapter else path if path.is_dir() else path.parent
    files = [path / name for name in list_files(path)] if path.is_dir() else [path] if path.is_file() else []
    files += adapter_files(source.adapter) if source.adapter else []
    read = {file for file in source.files if file.suffix != ".py" and file not in files}
    if unprintable := [file for file in (*files, *read) if not _named(file, source, folder).isprintable()]:
        raise InvalidInput(
            f"{str(unprintable[0])!r} has a character in its name that cannot be printed. Rename the file."
        )
    outside = read | {data for file in files for data in _outside(source, file)}
    raw = source.format in ("python", "command", "endpoint")
    vouches = FORMATS[source.format].vouches
    vouched: Mapping[Path, str | None] = function_of(vouches)(source) if vouches else {}
    found = {
        file: vouched[file] if file in vouched else pickles.doubt(file, raw=raw or file in outside)
        for file in sorted({*files, *outside})
    }
    return {_named(file, source, folder): why for file, why in found.items() if why}


def _named(file: Path, source: ModelSource, folder: Path) -> str:
    """A file of a model as it is named in the release."""
    return file.relative_to(source.root if file in source.files else folder).as_posix()


def _outside(source: ModelSource, file: Path) -> list[Path]:
    if source.format != "onnx" and file.suffix != ".onnx":
        return []
    from gradatim.models.onnx_graph import external_files

    return external_files(file)


def said_of(found: Mapping[str, str]) -> str:
    """What is doubted about a model, in a sentence that begins after "it brings"."""
    names = [name if why == pickles.A_PICKLE else f"{name}: {why}" for name, why in found.items()]
    which = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if set(found.values()) == {pickles.A_PICKLE}:
        return f"a pickle ({which}), and a pickle can run any code when it is loaded."
    return f"what is not proven harmless ({which}), and it could run any code when it is loaded. Take away what the model does not need."


def open_source(source: ModelSource) -> Predictor:
    """Load what ``find_source`` found and ``refuse_pickles`` let pass."""
    known, declared = FORMATS[source.format], source.signature
    opens: str | None = known.opens
    if declared is not None and declared.input(REQUEST) is not None:
        opens = known.generates
    if opens is None:
        raise InvalidInput(
            f"{source.path} is {source.format}, which cannot be asked for text: a Hugging Face folder, GGUF, ONNX with its tokenizer beside it, a server or a function of yours can."
        )
    opener: Callable[[ModelSource], Predictor] = function_of(opens)
    return opener(source)


def function_of(reference: str) -> Any:
    """A function of this room by a row's ``module:function``."""
    module, _, name = reference.partition(":")
    return getattr(import_module(f"gradatim.models.{module}"), name)


def exportable(kind: str, declared: Mapping[str, Any] | None = None) -> bool:
    """Whether models of a format can be written as ONNX; no format of that name is none.

    Nor one that is asked for text, as ``declared`` says, a signature as JSON: its form would keep no cache.
    """
    return kind in FORMATS and FORMATS[kind].exports is not None and not asked_for_text(declared)


def asked_for_text(declared: Mapping[str, Any] | None) -> bool:
    """Whether a model whose signature is declared so, as JSON, takes requests."""
    return any(spec["name"] == REQUEST for spec in (declared or {}).get("inputs", ()))


def export_model(model: Predictor, path: Path, batch: Arrays, out: Path) -> None:
    """Write an opened model as ONNX.

    Args:
        model: as ``open_model`` gives it.
        path: where it lies.
        batch: its inputs.
        out: the file to write.

    Raises:
        InvalidInput: its format cannot be, or this model.
        EnvironmentLacks: a package is missing.
    """
    known = FORMATS[formats.detect_format(path)]
    if known.exports is None:
        raise InvalidInput(f"models of the format {known.name} cannot be written as ONNX")
    function_of(known.exports)(model, batch, out)


def convert_model(model: Predictor, path: Path, batches: Iterable[Arrays], out: Path, numbers: str) -> None:
    """Write an opened model as LiteRT, for one item at a time.

    Args:
        batches: its inputs, each row of which is one to calibrate by.
        numbers: what it computes with (``litert_export.Numbers``).
        model, path, out: as for ``export_model``.

    Raises:
        InvalidInput, EnvironmentLacks: as for ``export_model``.
    """
    known = FORMATS[formats.detect_format(path)]
    if known.converts is None:
        raise InvalidInput(f"models of the format {known.name} cannot be written as LiteRT")
    function_of(known.converts)(model, batches, out, numbers)
