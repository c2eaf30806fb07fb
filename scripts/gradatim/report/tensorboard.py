"""A run as TensorBoard event files, by its own writer, so that releases are seen beside trainings."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.errors import needs
from gradatim.files import cannot_write
from gradatim.report.model import Confusion, Report, TimedModel

_CELL = 12
"""Pixels of a side of a cell of the confusion matrix."""


def write_run(report: Report, folder: Path) -> Path:
    """Add a run: every number of the chosen form and of the baseline, the times of calls, the confusion matrix and what it was.

    Candidate and baseline are a run of TensorBoard's each, below the model's name; a step is a run of gradatim, so that
    one folder that is written to again and again shows how releases went.

    Args:
        folder: what ``tensorboard --logdir`` is given.

    Returns:
        the folder of the model.

    Raises:
        EnvironmentLacks: tensorboard is not installed, or the folder cannot be written.
    """
    with needs("tensorboard", "tensorboard", "Writing TensorBoard event files"):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

    place = folder / report.name
    try:
        step = len(list((place / "candidate").glob("events.out.tfevents.*")))
        for who, variant in (("candidate", report.chosen), ("baseline", "baseline")):
            summaries = list(_summaries(report, who, variant))
            if not summaries:
                continue
            writer = EventFileWriter(str(place / who))
            for summary in summaries:
                event = Event(wall_time=_now(), step=step)
                event.summary.CopyFrom(summary)
                writer.add_event(event)
            writer.close()
    except OSError as error:
        raise cannot_write(place, error) from error
    return place


def _summaries(report: Report, who: str, variant: str | None) -> Iterator[Any]:
    from tensorboard.plugins.histogram.summary import histogram_pb
    from tensorboard.plugins.scalar.summary import scalar_pb
    from tensorboard.plugins.text.summary import text_pb

    for found in report.measurements:
        if found.variant == variant and found.value is not None:
            yield scalar_pb(f"{found.name}/{found.where or 'all'}", found.value)
    for timed in report.latency.contestants if report.latency else ():
        if timed.name == variant and timed.ecdf:
            yield histogram_pb("seconds of a call", _times(timed))
    counts = _counts(report.confusion, who)
    if counts is not None and report.confusion is not None:
        yield _image("confusion", counts)
        yield text_pb("confusion", _table(report.confusion.labels, counts))
    if who == "candidate":
        yield text_pb(
            "run", f"{report.version or 'candidate'} {report.verdict.value} {report.commit or ''}".strip()
        )


def _times(timed: TimedModel) -> np.ndarray:
    """Times whose distribution is the one that was measured: as many of each as its share says, of a thousand."""
    ends = np.array([share for _, share in timed.ecdf])
    return np.repeat(
        [seconds for seconds, _ in timed.ecdf], np.diff(np.round(1000 * ends), prepend=0).astype(int)
    )


def _counts(confusion: Confusion | None, who: str) -> np.ndarray | None:
    """[labels, labels] how often each true label (row) was taken for each (column)."""
    matrix = () if confusion is None else confusion.candidate if who == "candidate" else confusion.baseline
    return np.array(matrix, np.int64) if matrix else None


def _table(labels: tuple[str, ...], counts: np.ndarray) -> str:
    rows = [f"| {label} | {' | '.join(map(str, row))} |" for label, row in zip(labels, counts, strict=True)]
    return "\n".join(
        [f"| true \\ taken for | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|", *rows]
    )


def _image(name: str, counts: np.ndarray) -> Any:
    """The shares of each row as a grey picture: the darker, the more."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    grey = np.kron(255 * (1 - shares), np.ones((_CELL, _CELL))).astype(np.uint8)
    height, width = grey.shape
    image = Summary.Image(height=height, width=width, colorspace=1, encoded_image_string=_png(grey))
    return Summary(value=[Summary.Value(tag=name, image=image)])


def _png(grey: np.ndarray) -> bytes:
    """[height, width] of bytes as a PNG. https://www.w3.org/TR/png-3/"""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width = grey.shape
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _now() -> float:
    import time

    return time.time()
