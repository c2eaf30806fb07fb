"""Is our search as good as each single recipe? ``python tests/bench/compression.py [MODEL...] [--keep .98]``

Side by side, in one run: ONNX Runtime's own recipes with their defaults, NNCF's quantisation after training, plain and with
accuracy control (where `nncf` is installed), and the search, on models that the bench makes:
``bytes`` (bytes looked up, dense layers, 200 classes), ``depthwise`` (depthwise and pointwise convolutions between clips),
``digits`` (a small trained CNN), and ``minilm`` where torch and the model's package are installed (not unless named). Prints
size, fidelity and agreement on data that nobody calibrated on, latency as a part of the original's for 1 and for 8 rows,
seconds, and the peak of memory of whatever made it; and which recipes that keep the fidelity beat the search, if any: smaller and
faster for 1 and for 8 rows, by more than three in a hundred in one of them and by less than that worse in none.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from bench_compression import NAMES, export
from small_models import digits, write_cnn
from test_compression_strangers import byte_classifier, byte_rows, depthwise

from gradatim.compression.fidelity import Fidelity
from gradatim.compression.search import compress
from gradatim.models import open_model
from gradatim.timing.blocks import interleaved, lower_quartile

Batch = dict[str, np.ndarray[Any, Any]]


def made(name: str, folder: Path) -> tuple[Path, list[Batch]]:
    """A model, and twelve batches of eight rows: the first eight to calibrate on."""
    draw = np.random.default_rng(7)
    path = folder / f"{name}.onnx"
    if name == "bytes":
        return byte_classifier(path), [{"bytes": rows} for rows in np.split(byte_rows(96), 12)]
    if name == "depthwise":
        rows = draw.normal(size=(12, 8, 3, 32, 32)).astype(np.float32)
        return depthwise(path), [{"x": each} for each in rows]
    if name == "digits":
        return write_cnn(path), [{"image": each} for each in np.split(digits()[0][:96], 12)]
    model, tokenizer = export(folder)
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    lines = [line for line in text if len(line) > 40][:96]
    found = tokenizer(lines, return_tensors="np", padding="max_length", truncation=True, max_length=48)
    return model, [
        {key: found[key][i : i + 8].astype(np.int64) for key in NAMES} for i in range(0, len(lines), 8)
    ]


def recipes(keep: float) -> dict[str, Callable[[Path, Path, list[Batch]], Path]]:
    """Recipe -> what makes it, of model, folder and calibration batches: a path."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, batches: list[Batch]) -> None:
            self.left: Iterator[Batch] = iter(batches)

        def get_next(self) -> Batch | None:
            return next(self.left, None)

    def dynamic(**settings: Any) -> Callable[[Path, Path, list[Batch]], Path]:
        def make(model: Path, folder: Path, batches: list[Batch]) -> Path:
            quantize_dynamic(model, folder / "m.onnx", weight_type=QuantType.QInt8, **settings)
            return folder / "m.onnx"

        return make

    def static(**settings: Any) -> Callable[[Path, Path, list[Batch]], Path]:
        def make(model: Path, folder: Path, batches: list[Batch]) -> Path:
            quantize_static(model, folder / "m.onnx", Reader(batches), **settings)
            return folder / "m.onnx"

        return make

    def ours(model: Path, folder: Path, batches: list[Batch]) -> Path:
        single = {name: array[:1] for name, array in batches[0].items()}
        found = compress(
            model, folder, calibration=lambda: iter(batches), keep={"fidelity": keep}, timing=single
        )
        assert found.best.path is not None
        print(f"  ours is {found.best.name} of {len(found.trials)} tried", flush=True)
        return found.best.path

    def nncf(*, controlled: bool) -> Callable[[Path, Path, list[Batch]], Path]:
        def make(model: Path, folder: Path, batches: list[Batch]) -> Path:
            import nncf
            import onnx

            data, loaded = nncf.Dataset(batches), onnx.load(str(model))
            if not controlled:
                found = nncf.quantize(loaded, data, subset_size=len(batches))
            else:
                found = nncf.quantize_with_accuracy_control(
                    loaded, data, data, likeness(model), max_drop=1 - keep, drop_type=nncf.DropType.ABSOLUTE
                )
            onnx.save(found, str(folder / "m.onnx"))
            return folder / "m.onnx"

        return make

    others = {"NNCF": nncf(controlled=False), "NNCF, accuracy control": nncf(controlled=True)}
    return {
        "ORT dynamic": dynamic(),
        "ORT dynamic, per channel": dynamic(per_channel=True),
        "ORT static": static(),
        "ORT static, per channel": static(per_channel=True, activation_type=QuantType.QUInt8),
        **(others if find_spec("nncf") else {}),
        "ours": ours,
    }


def likeness(model: Path) -> Callable[[Any, Any], tuple[float, None]]:
    """The fidelity of a graph to a model, as NNCF's control asks for it."""

    def measured(graph: Any, batches: Any) -> tuple[float, None]:
        import onnxruntime

        sessions = [onnxruntime.InferenceSession(one) for one in (str(model), graph.SerializeToString())]
        names, found = [output.name for output in sessions[0].get_outputs()], Fidelity()
        for batch in batches:
            before, after = (dict(zip(names, each.run(names, batch), strict=True)) for each in sessions)
            found.add(before, after)
        return found.result()["fidelity"], None

    return measured


def measure(model: Path, candidate: Path, held_out: list[Batch]) -> tuple[float, ...]:
    """A row of the table: size, fidelity, agreement, latency for 1 and for 8 rows."""
    fidelity, ratios = Fidelity(), []
    with (
        open_model(model, root=model.parent) as before,
        open_model(candidate, root=candidate.parent) as after,
    ):
        for batch in held_out:
            fidelity.add(before(batch), after(batch))
        for rows in (1, 8):
            batch = {name: array[:rows] for name, array in held_out[0].items()}
            minima = interleaved({"before": lambda b=batch: before(b), "after": lambda b=batch: after(b)}, 0)
            ratios.append(lower_quartile(minima["after"]) / lower_quartile(minima["before"]))
    found = fidelity.result()
    size = candidate.stat().st_size / model.stat().st_size
    return size, found["fidelity"], found.get("agreement", float("nan")), *ratios


def beats(other: tuple[float, ...], ours: tuple[float, ...]) -> bool:
    """Whether a recipe lies beyond ours in size and both latencies; three in a hundred count as equal."""
    pairs = [(other[place], ours[place]) for place in (0, 3, 4)]
    return all(a < 1.03 * b for a, b in pairs) and any(a < 0.97 * b for a, b in pairs)


def work(which: str, keep: float, model: Path, batches: list[Batch], folder: Path, found: Any) -> None:
    """One recipe in a process of its own, whose memory is its own."""
    started = time.monotonic()
    try:
        path = recipes(keep)[which](model, folder, batches[:8])
        seconds = time.monotonic() - started
        peak = (
            max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            / 1024
        )
        row = measure(model, path, batches[8:])
        found.put((which, row))
        told = "{:6.3f} {:9.4f} {:9.3f} {:8.2f} {:8.2f}".format(*row)
        print(f"  {which:26} {told} {seconds:7.1f} {peak:8.0f}", flush=True)
    except Exception as error:  # a recipe that does not work is a row of the table
        print(f"  {which:26} {type(error).__name__}: {str(error).splitlines()[0][:90]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=["bytes", "depthwise", "digits"])
    parser.add_argument("--keep", type=float, default=0.98)
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            model, batches = made(name, Path(folder))
            print(f"{name}, {model.stat().st_size / 1e6:.2f} MB, fidelity of at least {asked.keep:g} wanted")
            print(
                f"  {'':26} {'size':>6} {'fidelity':>9} {'agreement':>9} {'latency1':>8} {'latency8':>8} {'seconds':>7} {'peak MB':>8}"
            )
            found, rows = context.Queue(), {}
            for which in recipes(asked.keep):
                with tempfile.TemporaryDirectory() as place:
                    process = context.Process(
                        target=work, args=(which, asked.keep, model, batches, Path(place), found)
                    )
                    process.start()
                    process.join()
            while not found.empty():
                which, row = found.get()
                rows[which] = row
            kept = {which: row for which, row in rows.items() if row[1] >= asked.keep and which != "ours"}
            beaten = [which for which, row in kept.items() if beats(row, rows["ours"])]
            print(f"  of {len(kept)} that keep it, beyond ours: {', '.join(beaten) or 'none'}", flush=True)


if __name__ == "__main__":
    main()
