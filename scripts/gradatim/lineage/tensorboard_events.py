"""TensorBoard event files: scalars as metrics, the hparams plugin's session as parameters."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput, needs
from gradatim.lineage.draft import LineageDraft, at
from gradatim.lineage.record import Lineage

_SESSION_START = "_hparams_/session_start_info"
_HPARAMS, _SCALARS = "hparams", "scalars"


def event_files(folder: Path) -> list[Path]:
    """Every event file below a folder, or the one named.

    Raises:
        InvalidInput: there is none.
    """
    found = (
        [folder]
        if folder.is_file()
        else sorted(p for p in folder.rglob("*tfevents*") if p.is_file() and not p.is_symlink())
    )
    if not found:
        raise InvalidInput(
            f"{folder} holds no TensorBoard event file (events.out.tfevents.*). Let training write there, or name its folder in `lineage.tensorboard`."
        )
    return found


def read_events(folder: Path, place: str) -> Lineage:
    """Read every run below a folder; a run in a sub-folder gives its name to its metrics.

    Args:
        folder: what ``tensorboard --logdir`` would be given for this one training.
        place: what it is called in messages.

    Raises:
        InvalidInput: there is no event file, or one is damaged.
        EnvironmentLacks: tensorboard is not installed.
    """
    with needs("tensorboard", "tensorboard", "Lineage from TensorBoard event files"), _quiet():
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    draft = LineageDraft(f"TensorBoard {place}", place)
    times: list[float] = []
    for path in event_files(folder):
        run = "" if folder.is_file() else path.parent.relative_to(folder).as_posix()
        prefix = "" if run == "." else f"{run}/" if run else ""
        scalars: set[str] = set()
        told = 0
        with _quiet():
            for event in LegacyEventFileLoader(str(path)).Load():
                told += 1
                times.append(event.wall_time)
                for value in event.summary.value:
                    if value.metadata.plugin_data.plugin_name == _HPARAMS:
                        _hparams(draft, value, path)
                        continue
                    if value.metadata.plugin_data.plugin_name == _SCALARS:
                        scalars.add(value.tag)
                    number = _number(value, scalars, path)
                    if number is not None:
                        draft.metric(_named(prefix, value.tag), event.step, number)
        if told != _count(path):  # the loader stops at a damaged record without a word
            raise _broken(path)
    if times:
        draft.started, draft.finished = at(min(times)), at(max(times))
    return draft.finish()


def _named(prefix: str, tag: str) -> str:
    """PyTorch's ``add_hparams`` writes its metrics into a folder that bears nothing but the time: left out."""
    return tag if tag.startswith("hparam/") else f"{prefix}{tag}"


def _number(value: Any, scalars: set[str], path: Path) -> float | None:
    """The scalar of a summary: as TensorFlow 1 and PyTorch write it, or as a tensor of the scalars plugin."""
    from tensorboard.util import tensor_util

    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.tag not in scalars or not value.HasField("tensor"):
        return None
    try:
        return float(tensor_util.make_ndarray(value.tensor).item())
    except (ValueError, TypeError) as error:
        raise _broken(path) from error


def _hparams(draft: LineageDraft, value: Any, path: Path) -> None:
    from google.protobuf.message import DecodeError
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    if value.tag != _SESSION_START:
        return
    try:
        session = HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
    except DecodeError as error:
        raise _broken(path) from error
    for name, found in session.hparams.items():
        kind = found.WhichOneof("kind")
        draft.parameters({name: getattr(found, kind) if kind else None})


def _count(path: Path) -> int:
    """How many records the file has: each is 8 bytes of length, 4 of checksum, the event, 4 of checksum."""
    size, start, count = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while start < size:
            file.seek(start)
            start += 16 + int.from_bytes(file.read(8), "little")
            count += 1
    if start != size:
        raise _broken(path)
    return count


def _broken(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} is cut off or damaged: it is not a whole TensorBoard event file. Copy it again, or train again."
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TensorBoard's remarks that TensorFlow is not installed."""
    logger = logging.getLogger("tensorboard")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
