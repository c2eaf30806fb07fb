"""A run of gradatim beside trainings in TensorBoard: read back by TensorBoard's own reader, and by our lineage."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_examples import refused

from gradatim.lineage.reading import Origin, read_lineage
from gradatim.report.tensorboard import write_run

pytest.importorskip("tensorboard")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    found.Reload()
    return found


def test_runs_written_into_one_folder_are_steps_with_every_number_the_times_and_the_confusion(
    tmp_path: Path,
) -> None:
    report = refused()
    for version in ("v1.0.0", "v1.1.0"):
        place = write_run(replace(report, version=version), tmp_path / "runs")
    assert place == tmp_path / "runs" / report.name
    found = read(place / "candidate")
    wanted = {
        f"{m.name}/{m.where or 'all'}": m.value
        for m in report.measurements
        if m.variant == report.chosen and m.value is not None
    }
    tags = found.Tags()["tensors"]
    assert set(wanted) <= set(tags)
    for tag, value in wanted.items():
        events = found.Tensors(tag)
        assert [event.step for event in events] == [0, 1]
        assert events[-1].tensor_proto.float_val[0] == pytest.approx(value, rel=1e-6)
    assert "seconds of a call" in tags
    [_, told] = found.Tensors("run")
    assert told.tensor_proto.string_val[0].startswith(b"v1.1.0 FAIL")
    drawn = found.Images("confusion")[0]
    pixels = np.asarray(pytest.importorskip("PIL.Image").open(io.BytesIO(drawn.encoded_image_string)))
    assert report.confusion is not None
    assert pixels.shape == (12 * len(report.confusion.labels),) * 2
    assert pixels[0, 0] < 60  # nearly all of the first class are on the diagonal
    assert set(read(place / "baseline").Tags()["tensors"]) & set(wanted)


def test_what_is_written_is_what_lineage_reads(tmp_path: Path) -> None:
    write_run(refused(), tmp_path / "runs")
    found = read_lineage(Origin("tensorboard", f"runs/{refused().name}/candidate"), tmp_path)
    assert found.metrics["accuracy/all"].value == pytest.approx(
        next(
            m.value
            for m in refused().measurements
            if (m.name, m.where, m.variant) == ("accuracy", None, refused().chosen)
        ),
        rel=1e-6,
    )
