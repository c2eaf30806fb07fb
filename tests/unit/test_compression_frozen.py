"""What becomes of a model's graph and of a search for a smaller one, to the digit and to the word: nothing of it changes unseen.

``python tests/unit/test_compression_frozen.py`` writes the golden files anew, after a change that is meant. Attempts of a search are
answered by a table, so that what it tries next, what it accepts and why hang on no machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from frozen import attempted, changed, line, told, write
from graph_examples import described_whole, inner, model, node
from test_compression_branches import recurrent_in_branches
from test_compression_large import kept_outside
from test_compression_strangers import written

from gradatim.compression import (
    attempt,
    choice,
    graph,
    packing,
    ranges,
    search,
    splitting,
    streaming,
    subject,
)
from gradatim.compression.batches import calls_of, first_row, write_batches
from gradatim.compression.budget import Budget
from gradatim.compression.calibration import Calibrated
from gradatim.compression.equalising import equalisable, equalised
from gradatim.compression.fidelity import Fidelity
from gradatim.compression.forms import FORMS, fitting
from gradatim.compression.forms.blocks import block_of
from gradatim.compression.forms.dynamic import gains
from gradatim.compression.forms.stored import per_channel
from gradatim.compression.journal import Journal
from gradatim.compression.observing import Observed, observe
from gradatim.compression.parity import check_parity
from gradatim.compression.quantise import quantise
from gradatim.compression.recipe import (
    DEFAULT_METHODS,
    Recipe,
    Stages,
    forms_of,
    recipes_for,
    remove_stale,
    with_own,
)
from gradatim.compression.result import Result, pareto, summary
from gradatim.compression.sandbox import Limits, scratch_in
from gradatim.compression.sensitivity import _outermost_first, _rounding, as_their_kind, sensitivities
from gradatim.compression.splitting import _bytes, _crossing, _cuts, split
from gradatim.compression.terms import Terms, finite, promises
from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.evidence.trial import Trial
from gradatim.timing.contestant import Contestant

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

GOLDEN = Path(__file__).parent / "golden" / "compression"


def waves(*shape: int, scale: float = 1.0) -> Any:
    """Numbers that are the same on every machine."""
    return (np.sin(np.arange(math.prod(shape)) * 1.7) * scale).reshape(shape).astype(np.float32)


def picture_net(path: Path) -> Path:
    """Convolutions of every kind, sums and poolings between them, a clip, dense layers with and without a bias."""
    from onnx import helper

    constants = {
        "k1": waves(8, 3, 3, 3), "b1": waves(8, scale=0.1), "k2": waves(8, 1, 3, 3, scale=0.3), "k3": waves(16, 8, 1, 1, scale=0.2), "k4": waves(16, 16, 3, 3, scale=0.05),
        "b4": waves(16, scale=0.2), "low": np.float32(0), "high": np.float32(6), "w1": waves(40, 16, scale=0.4), "c1": waves(40, scale=0.1), "w2": waves(40, 30, scale=0.2), "c2": waves(1, 30, scale=0.1),
    }  # fmt: skip
    constants["k1"][3] *= 0.01
    nodes = [
        helper.make_node("Conv", ["x", "k1", "b1"], ["a"], pads=[1, 1, 1, 1], name="first"), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k2"], ["c"], pads=[1, 1, 1, 1], group=8, name="each"), helper.make_node("Clip", ["c", "low", "high"], ["d"]),
        helper.make_node("Conv", ["d", "k3"], ["e"], name="wide"), helper.make_node("Conv", ["e", "k4", "b4"], ["f"], pads=[1, 1, 1, 1], name="deep"), helper.make_node("Add", ["e", "f"], ["g"]),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]), helper.make_node("Flatten", ["h"], ["i"]), helper.make_node("Gemm", ["i", "w1", "c1"], ["j"], transB=1, name="dense"),
        helper.make_node("Relu", ["j"], ["k"]), helper.make_node("MatMul", ["k", "w2"], ["l"], name="last"), helper.make_node("Add", ["l", "c2"], ["y"]),
    ]  # fmt: skip
    return written(path, nodes, ("x", ["n", 3, 8, 8]), ("y", ["n", 30]), constants)


def described(model: Any) -> Iterator[str]:
    """The nodes by their kind, and every constant by its type, shape and size of numbers."""
    from onnx import numpy_helper

    yield told(sorted(Counter(node.op_type for node in graph.all_nodes(model)).items()))
    for tensor in sorted(model.graph.initializer, key=lambda one: one.name):
        if tensor.external_data:
            yield f"{tensor.name} {tensor.data_type} {list(tensor.dims)} {[(one.key, one.value) for one in tensor.external_data]}"
            continue
        value = numpy_helper.to_array(tensor).astype(np.float64)
        yield f"{tensor.name} {tensor.data_type} {list(tensor.dims)} {np.abs(value).mean() if value.size else 0.0:.4g} {value.reshape(-1)[-1] if value.size else 0.0:.3g}"


def calibrated(model: Path, batches: Iterable[Any], folder: Path, bits: int = 7) -> Calibrated:
    folder.mkdir(exist_ok=True)
    paths, _ = write_batches(iter(batches), folder)
    return Calibrated(graph.prepare(model), paths, folder / "seen.npz", bits)


def forms() -> Iterator[str]:
    """Graphs in each form, by seven bits where eight would hang on the processor."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = calibrated(
            picture_net(folder / "m.onnx"),
            [{"x": waves(12, 3, 8, 8)}, {"x": waves(4, 3, 8, 8, scale=2)}],
            folder,
        )
        yield from described(data.prepared)
        for node, fits in fitting(data.model).items():
            yield f"{node}: {fits}"
        for tensor, one in data.seen.items():
            yield f"{tensor} {told(one.bounds)} {one.size} {told(one.means[:3])} {told(one.peaks[:3])} {one.means.shape} {one.peaks.shape}"
        for recipe in (
            *(Recipe(method) for method in DEFAULT_METHODS), Recipe("int8-weights", unpacked=True), Recipe("int8-static", fallback=(("wide", "float"), ("first", "stored16"))),
            Recipe("int8-dynamic", fallback=(("last", "blocks4"), ("deep", "float"))),
        ):  # fmt: skip
            yield recipe.name
            yield from described(quantise(recipe, data))
        found = sensitivities(data, 60)
        for key in ("able", "operators", "weights", "products"):
            yield f"{key} {found[key]}"
        for node, losses in found["losses"].items():
            yield f"{node} { ({form: float(f'{lost:.2g}') for form, lost in losses.items()}) }"
        yield told(sorted(sensitivities(data, 0.0)["measured"]))
        turned, seen = equalised(data.prepared, observe(data.prepared, data.batches, data.kept))
        yield from described(turned)
        yield told([(tensor, one.peaks[:4]) for tensor, one in seen.items() if one.means.size])
        words = calibrated(
            kept_outside(folder / "w.onnx", outside=False),
            [{"words": np.arange(48).reshape(8, 6) * 7}],
            folder / "w",
        )
        for method in ("int8-dynamic", "int8-static", "int8-weights"):
            yield method
            yield from described(quantise(Recipe(method), words))
        yield from described(quantise(Recipe("int8-weights", fallback=(("Gather_0", "rows16"),)), words))
        branches = calibrated(
            recurrent_in_branches(folder / "b.onnx"), [{"x": waves(4, 2, 32)}], folder / "b"
        )
        yield told(
            sorted(
                Counter(
                    node.op_type for node in graph.all_nodes(quantise(Recipe("int8-weights"), branches))
                ).items()
            )
        )
        for bits in (8, 4):
            streaming.stream(kept_outside(folder / "s.onnx"), folder / "out" / "s.onnx", bits)
            yield from described(onnx.load(str(folder / "out" / "s.onnx"), load_external_data=False))
            data_file = folder / "out" / "s.onnx.data"
            yield told(
                (
                    data_file.stat().st_size,
                    int(np.frombuffer(data_file.read_bytes(), np.uint8).astype(np.int64).sum() // 1000),
                )
            )
        for parts in (2, 3):
            yield told(
                [
                    path.stat().st_size // 10
                    for path in split(
                        folder / "m.onnx", folder / "stages", parts, "size", {"x": waves(2, 3, 8, 8)}
                    )
                ]
            )
            yield (folder / "stages" / "stages.json").read_text()
        whole = onnx.load(str(folder / "m.onnx"))
        yield told((_bytes(whole), _crossing(whole)))


def roundings() -> Iterator[str]:
    """How numbers are rounded, form by form, and where a graph is cut."""
    yield from map(line, FORMS.values())
    yield told(
        [len(graph._first_line(error)) for error in (ValueError("x" * 400), ValueError("a\nb"), ValueError())]
    )
    weight = waves(6, 70, scale=3)
    weight[2] = 0
    for form in FORMS.values():
        yield told(
            (
                form.name,
                np.abs(form.rounded(weight, 0) - weight).max(),
                np.abs(form.rounded(weight.T.copy(), 1) - weight.T).max(),
            )
        )
    for bits in (8, 7):
        numbers, scale = per_channel(weight, 0, bits)
        yield told((numbers.min(), numbers.max(), scale.reshape(-1), numbers.dtype, scale.shape))
    yield told([(block_of(depth, bits)) for depth in (64, 75, 128, 192, 256, 512) for bits in (8, 4)])
    for peaks in (
        np.ones(6),
        np.array([1, 1, 1, 1, 1, 3.9]),
        np.array([1, 1, 1, 1, 1, 4.0]),
        np.array([1, 1, 1, 1, 1, 30.0]),
        np.zeros(6),
        np.ones(5),
        np.array([0, 0, 0, 1, 1, 30.0]),
    ):
        yield told(gains(weight, peaks.astype(np.float32)))
    yield told(
        [sorted(_rounding("n/0", low, high).items()) for low, high in ((-1.0, 3.0), (0.0, 0.0), (0.0, 255.0))]
    )
    yield told(_outermost_first(["a", "b", "c", "d", "e"]))
    able = {"a": ["static", "stored8"], "b": ["static"], "c": ["rows8"], "d": ["static", "stored8"]}
    yield told(
        as_their_kind(
            {"a": {"static": 0.2, "stored8": 0.1}, "b": {"static": 0.4}},
            able,
            {"a": "Conv", "b": "Conv", "c": "Gather", "d": "Conv"},
        )
    )
    for parts in (1, 2, 3, 4):
        yield told(
            [
                _cuts([5.0, 1, 1, 1, 5, 1, 1, 5], [9, 3, 1, 3, 2, 1, 4, 1, 0], parts),
                _cuts([1.0] * 8, [1] * 9, parts),
                _cuts([1.0] * 40, [3, 1, 2, 1] * 10 + [0], parts),
            ]
        )
    found = Fidelity()
    exact, near = waves(20, 5), waves(20, 5) + waves(20, 5, scale=0.1)[::-1]
    near[3], exact[7] = 0, 0
    near[7] = 0
    found.add(
        {"y": exact, "n": np.arange(4), "z": np.array([1.0, np.nan])},
        {"y": near, "n": np.array([0, 1, 2, 9]), "z": np.array([1.0, 5.0])},
    )
    yield told(found.result())
    found.add({"y": exact * 2}, {"y": exact * 2})
    yield told(found.result())
    for y, other in (
        (np.ones((3, 2)), np.ones((3, 2))),
        (np.ones((3, 2)), np.ones((3, 2)) * 1.1),
        (np.ones(3), np.ones(3)),
        (np.zeros((0, 2)), np.zeros((0, 2))),
    ):
        one = Fidelity()
        one.add({"y": y}, {"y": other})
        yield told(one.result())
    for other in ({}, {"y": np.ones((2, 2))}, {"y": np.array([[1.0, np.inf]] * 3)}):
        yield attempted(lambda other=other: Fidelity().add({"y": np.ones((3, 2))}, other))  # type: ignore[misc]
    for change in (0.0, 5e-4, 9.9e-4, 1.1e-3, np.nan):
        yield attempted(
            lambda change=change: check_parity(
                lambda rows: {"y": rows["x"]},
                lambda rows: {"y": rows["x"] + change},
                [{"x": waves(4, 3, scale=2)}],
            )
        )  # type: ignore[arg-type, misc]
    yield attempted(
        lambda: check_parity(
            lambda rows: {"y": rows["x"] > 0}, lambda rows: {"y": rows["x"] > 0.9}, [{"x": waves(40)}]
        )
    )  # type: ignore[arg-type]
    yield attempted(
        lambda: check_parity(lambda rows: {"y": rows["x"]}, lambda rows: {"z": rows["x"]}, [{"x": waves(4)}])
    )  # type: ignore[arg-type]
    yield told(
        {name: array.shape for name, array in first_row({"a": np.ones((3, 2)), "b": np.array(1)}).items()}
    )


def cut_off() -> Iterator[str]:
    """Where each kind of range leaves outliers out, for tails of every kind, and how what is seen is counted."""
    from onnx import helper

    from gradatim.compression.ranges import RANGES, _groups, _histogram, _least, _values, narrowed

    def ends(values: Any, counts: Any, low: float, high: float) -> dict[str, tuple[float, float]]:
        return {kind: found(np.array(counts), np.array(values, float), low, high) for kind, found in RANGES.items()}  # fmt: skip

    middle = _values()
    yield told((middle[[0, 1, 1023, 1024, 2047]], middle.size))
    edges = (np.arange(-1024, 1025, 64) / 1024.0) ** 3
    tails = np.tan(waves(3000).astype(np.float64) * 1.56)
    for numbers in (edges, tails, np.abs(tails), -np.abs(tails), waves(500), np.r_[waves(900), 40.0], np.r_[waves(900), -40.0, 30.0], np.r_[np.zeros(50), 1.0, -0.5], np.zeros(4), np.zeros(0)):  # fmt: skip
        low, high = min(0.0, numbers.min(initial=0.0)), max(0.0, numbers.max(initial=0.0))
        counts = _histogram(numbers.astype(np.float32), max(-low, high))
        some = counts > 0
        yield told((low, high, int(counts.sum()), counts.max(), int((counts * np.arange(2048)).sum()), np.nonzero(some)[0][:9], str(counts.dtype)))  # fmt: skip
        if some.any():
            yield told(ends(middle[some] * max(-low, high), counts[some], low, high))
    with pytest.MonkeyPatch.context() as patch:
        for most in (10, 11, 19, 20, 21, 40):
            patch.setattr(ranges, "_MOST", most)
            yield told(
                [int(_histogram(np.arange(1.0, size), 50.0).sum()) for size in (10, 11, 12, 21, 22, 41)]
            )
        patch.setattr(ranges, "_TOGETHER", 10)
        none = np.zeros(0, np.float32)
        for sizes in ((), (4,), (11,), (4, 6), (4, 7), (5, 5, 5, 5), (1, 11, 1, 9, 1), (3, 3, 3, 3, 3)):
            seen = {f"t{place}": Observed(-1, 1, size, none, none) for place, size in enumerate(sizes)}
            yield told([*_groups(seen)])
    for values, counts in (
        ([-2, -1, 1, 2], [5, 99_995, 99_995, 5]), ([-2, -1, 1, 2], [10, 99_990, 99_990, 10]), ([-2, -1, 1, 2], [11, 99_989, 99_989, 11]), ([-2, -1, 1, 2], [3, 19_997, 80_000, 0]),
        ([1, 2, 3], [99_989, 1, 10]), ([-3, -2, -1], [10, 1, 99_989]), ([-1, 1], [1, 1]), ([0.5, 1, 8], [1000, 1000, 1]), ([-8, -1, -0.5, 0.25], [2, 1000, 4000, 500]),
        ([0.001, 0.01, 0.1, 1, 10, 100], [1000, 900, 800, 300, 20, 1]), ([-100, -1, 0.001, 0.01, 0.1, 1, 10], [1, 20, 1000, 900, 800, 300, 20]),
    ):  # fmt: skip
        some = np.array(counts) > 0
        yield told(ends(np.array(values, float)[some], np.array(counts)[some], min(values[0], 0), max(values[-1], 0)))  # fmt: skip
        yield told(ends(np.array(values, float)[some], np.array(counts)[some], 2.0 * min(values[0], 0), 3.0 * max(values[-1], 0)))  # fmt: skip
    for wanted in ((-2.0, 3.0), (-8.0, 0.01), (0.0, 8.0), (-1e-4, 2.0)):
        yield told(_least(lambda low, high, w=wanted: (low - w[0]) ** 2 + (high - w[1]) ** 2 + abs(high + low) / 99, -8.0, 8.0))  # type: ignore[misc]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nodes = [helper.make_node("Mul", ["x", "two"], ["a"]), helper.make_node("Sub", ["a", "x"], ["b"]), helper.make_node("Sub", ["b", "x"], ["y"])]  # fmt: skip
        model = onnx.load(str(written(folder / "m.onnx", nodes, ("x", ["n"]), ("y", ["n"]), {"two": np.float32(2)})))  # fmt: skip
        paths, _ = write_batches(iter([{"x": np.r_[waves(400), np.float32(9)]}, {"x": waves(300, scale=0.5)}]), folder)  # fmt: skip
        none = np.zeros(0, np.float32)
        seen = {"a": Observed(-2, 18, 401, none, none), "b": Observed(-1, 9, 401, none, none), "y": Observed(0, 0, 401, none, none)}  # fmt: skip
        before = model.SerializeToString()
        for kind in RANGES:
            yield told(narrowed(kind, model, seen, paths, folder / "counts.npz"))
        yield told(
            (model.SerializeToString() == before, narrowed("mse", model, seen, [], folder / "counts.npz"))
        )


def likenesses() -> Iterator[str]:
    """How alike two models' outputs are said to be, at each edge of what is alike; checked by hand or by ``test_compression_likeness``."""
    wide, near = waves(2, 3, 4), waves(2, 3, 4) + waves(2, 3, 4, scale=0.3)[::-1, ::-1]
    wide[0, 1], near[0, 1] = 0, 0
    near[1, 2], wide[1, 0] = 0, 0
    level = np.array([1e4, 1e4 + 0.003])
    for exact, other in (
        (wide, near), (wide[0], near[0]), (wide[0, :, :1], near[0, :, :1]), (wide[0, :, :2], near[0, :, :2]), (wide[0, 0], near[0, 0]), (np.array(3.0), np.array(3.5)), (np.array([3.0]), np.array([3.5])),
        (np.array([4.0, 4.0]), np.array([4.0, 4.0001])), (np.array([4.0, 4.0]), np.array([4.0, 4.0002])), (level, np.add(level, [0.05, 0.0])), (level, np.add(level, [0.5, 0.0])), (np.array([1.0, 2.0]), np.array([2.0, 1.0])),
        (np.array([5, 6, 7]), np.array([5, 6, 8])), (np.array(["a", "b"]), np.array(["a", "c"])), (np.array([True, False, True]), np.array([True, True, True])), (np.zeros((0, 4)), np.zeros((0, 4))),
        (np.array([[1.0, np.inf], [2.0, 0.5]]), np.array([[1.0, 7.0], [2.0, 0.5]])), (np.array([[3.0, 3.0, 1.0]]), np.array([[3.0, 2.0, 9.0]])),
    ):  # fmt: skip
        one = Fidelity()
        one.add({"y": exact}, {"y": other})
        yield told(one.result())
        one.add({"y": exact, "z": exact}, {"y": exact, "z": other})
        yield told(one.result())
    yield told(Fidelity().result())
    three = np.array([0.5, 1000.0, np.nan])
    for exact, other in (
        ([1000.0, 1.0], [1001.0, 1.0]), ([1000.0, 1.0], [1001.01, 1.0]), ([-1000.0, 1.0], [-1000.0, 2.0]), ([1e-3, 5e-4], [1.0005e-3, 5e-4]), ([1e-3, 5e-4], [1.002e-3, 5e-4]), ([0.0, 0.0], [1e-12, 0.0]), ([0.0, 0.0], [2e-12, 0.0]),
        ([1e-3, np.nan], [1.0005e-3, np.nan]), ([1e-3, np.nan], [1.002e-3, np.nan]), ([1e-3, np.inf], [1e-3, np.inf]), ([1e-3, np.inf], [1e-3, -np.inf]), ([1e-3, np.nan], [1e-3, np.inf]), ([1e-3, np.nan], [1e-3, 1.0]), ([1e-3, 1.0], [1e-3, np.nan]),
        (three, three), (np.zeros((0, 2)), np.zeros((0, 2))), (np.arange(2000), np.arange(2000)), (np.arange(2000), np.r_[7, np.arange(1, 2000)]), (np.arange(1000), np.r_[7, np.arange(1, 1000)]), (np.arange(999), np.r_[7, np.arange(1, 999)]),
        (np.ones((2, 2)), np.ones((2, 3))), ([1 + 2j, 1], [1 + 2.001j, 1]),
    ):  # fmt: skip
        yield attempted(lambda exact=exact, other=other: check_parity(lambda _: {"y": np.asarray(exact)}, lambda _: {"y": np.asarray(other)}, [{"x": waves(1)}]))  # type: ignore[misc]  # fmt: skip
    refused: list[int] = []

    def whole(rows: Any) -> Any:
        refused.append(len(rows["x"]))
        if len(rows["x"]) in (1, 4):
            raise InvalidInput(f"{len(rows['x'])} rows are refused")
        return {"y": rows["x"], "none": rows["x"][:0]}

    for sizes in ((3, 2), (4,), (2, 4, 3)):
        yield attempted(lambda sizes=sizes: check_parity(whole, lambda rows: {"y": rows["x"] * (1 + 1e-4 * len(rows["x"])), "none": rows["x"][:0]}, [{"x": waves(size)} for size in sizes]))  # type: ignore[misc]  # fmt: skip
        yield told(refused)
    batches = ({"a": np.ones((3, 2)), "b": np.array(1)}, {"a": np.ones((1, 2))}, {"a": np.ones((1, 2)), "b": np.ones(2)}, {"b": np.array(1)}, {"a": np.zeros((0, 2))})  # fmt: skip
    for batch in batches:
        yield told([{name: array.shape for name, array in call.items()} for call in calls_of(batch)])
    with tempfile.TemporaryDirectory() as name:
        folder, digests = Path(name), []
        texts = np.array(["a", "bc"], dtype=object)
        for found in ([{"x": np.ones(2)}], [{"x": np.ones((2, 1))}], [{"x": np.ones(2, np.float32)}], [{"z": np.ones(2)}], [{"x": np.zeros(2)}], [{"x": texts}], [{"x": texts.astype(str)}], [{"x": np.ones(2)}, {"x": np.zeros(2)}], [{"x": waves(4, 2)[::2]}]):  # fmt: skip
            paths, digest = write_batches(iter(found), folder, "judged")
            digests.append(digest[:12])
            yield told([path.name for path in paths])
        yield told(digests)


def subjects() -> Iterator[str]:
    """What is tried on a model of each format, however it is opened, and what is said where nothing can be."""
    some = [Recipe("int8-static"), Recipe("int8-weights"), Recipe("pruned"), Recipe("bf16")]
    own = [*some, Recipe("mine:network", code="c")]
    plain = {"signature": None, "endpoint": "", "command": "", "factory": "", "adapter": ""}
    text = plain | {"signature": {"inputs": [{"name": "x"}, {"name": "request"}]}}
    with pytest.MonkeyPatch.context() as patch:
        lacking: list[str] = []
        patch.setattr("importlib.util.find_spec", lambda name: None if name in lacking else name)
        patch.setattr(subject, "exports", lambda kind, opened: kind in ("pt2", "tflite"))
        for kind in (
            "onnx",
            "pt2",
            "huggingface",
            "gguf",
            "tflite",
            "that only its function or program knows",
        ):
            for opened in (None, plain, text, *(text | {key: "x"} for key in ("endpoint", "command", "factory", "adapter"))):  # fmt: skip
                if opened is not text and opened in (None, plain):
                    choices: Any = [(some, False, False), (some, False, True), (some[3:], False, False), (some[3:], False, True)]  # fmt: skip
                else:
                    choices = [
                        (some, False, False),
                        (some, True, False),
                        (own, True, False),
                        (own, False, True),
                    ]
                for recipes, default, cut in choices if opened in (None, plain, text) else choices[:1]:
                    found = subject.tried(recipes, Path("m.bin"), kind, opened, default=default, cut=cut)
                    yield found if isinstance(found, str) else told([one.name for one in found])
        for kind, opened in (
            ("onnx", None),
            ("onnx", text),
            ("pt2", plain),
            ("huggingface", text),
            ("gguf", text),
        ):
            for lacks in ("compressed_tensors", "gguf", "onnx", "onnxruntime"):
                lacking[:] = [lacks]
                yield attempted(lambda kind=kind, opened=opened: [one.name for one in subject.tried(some, Path("m.bin"), kind, opened, default=False, cut=False)]).partition(", which")[0]  # type: ignore[misc]  # fmt: skip
    yield told([subject.asks_for_text(opened) for opened in (None, {}, plain, text, {"signature": {}}, {"signature": {"inputs": []}})])  # fmt: skip
    yield told([name in subject.versions() for name in ("onnx", "numpy", "torch")])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = sized(folder / "m.onnx", 4000)
        (folder / "text.none").write_text("x")
        yield told([subject.file_of(path, exported=exported) for path in (model, folder) for exported in (True, False)])  # fmt: skip
        yield told([subject.format_of(path) for path in (model, folder / "text.none", folder / "m:f")])
        first = subject.original_of(model, "fp32")
        yield line(replace(first, digest=str(first.digest)[:8], path=None))
        yield told(sorted(subject.plain(model, 3).items())).replace(name, "TMP")
        yield line(subject.as_it_is(replace(first, digest="", path=None), "why")).replace(name, "TMP")


def graphs() -> Iterator[str]:
    """What is made of a graph before any form is given to it, node by node."""
    from onnx import helper

    square, tall, wide = waves(4, 4), waves(4, 3), waves(3, 4)
    products = {
        "plain": ([square], {}), "biased": ([square, waves(4)], {}), "turned": ([tall.T.copy(), waves(3)], {"transB": 1}), "not turned": ([square, waves(4)], {"transB": 0, "transA": 0, "alpha": 1.0, "beta": 1.0}),
        "left turned": ([square, waves(4)], {"transA": 1}), "doubled": ([square], {"alpha": 2.0}), "half": ([square, waves(4)], {"beta": 0.5}), "by a number": ([square, np.float32(2)], {}), "by one": ([square, waves(1)], {}),
        "by a row": ([wide.T.copy(), waves(1, 3)], {}), "by columns": ([square, waves(4, 1)], {}), "by all": ([square, waves(4, 4)], {}), "turned by columns": ([wide, waves(3, 1)], {"transB": 1}), "by too few": ([waves(4, 6), waves(1, 1)], {"transB": 0}),
    }  # fmt: skip
    nodes, constants = [], {}
    for place, (name, (tensors, settings)) in enumerate(products.items()):
        held = {f"w{place}.{each}": tensor for each, tensor in enumerate(tensors)}
        constants |= held
        nodes.append(node("Gemm", ["x", *held], [f"y{place}"], name, **settings))
        yield told((name, graph.is_product(nodes[-1]), sorted(graph.held(nodes[-1], held).items())))
    nodes += [
        node("Gemm", ["x", "y0", "w1.1"], ["z0"], "of two"), node("Gemm", ["x", "w1.0", ""], ["z1"], "no bias"), node("Conv", ["x", "k", "w1.1"], ["z2"], "c1"), node("Conv", ["z2", "k", "w1.1"], ["z3"], "c2"), node("Conv", ["z3", "k", "one"], ["z4"], "c3"),
        node("Conv", ["z4", "y0", "w1.1"], ["z5"], "of made"), node("Conv", ["z5", "k", "y1"], ["z6"], "made bias"), node("Relu", ["c1.bias"], ["z7"], "c1.bias"), node("Conv", ["x", "k"], ["y"], "bare"),
    ]  # fmt: skip
    constants |= {"k": waves(4, 3, 1, 1), "one": waves(1, scale=3), "c1.bias": waves(4)}
    for change in (graph._own_biases, graph.gemm_to_matmul, lambda whole: graph.gemm_to_matmul(whole, {"biased", "turned", "doubled"})):  # fmt: skip
        whole = model(nodes, constants)
        before = {*described_whole(whole)}
        change(whole)
        yield from (entry for entry in described_whole(whole) if entry not in before)
    for kind, count in (("Conv", 3), ("ConvTranspose", 2), ("MatMul", 2), ("LSTM", 4),
        ("LSTM", 2), ("GRU", 3), ("RNN", 3), ("Gather", 2), ("Add", 2)):  # fmt: skip
        for held in (["w"], ["r"], ["w", "r"], ["x"]):
            yield told((kind, held, sorted(graph.held(node(kind, ["x", "w", "r", "b"][:count], ["y"]), dict.fromkeys(held)).items())))  # fmt: skip
            yield told(sorted(graph.held(node(kind, ["w", "x", "r"][:count], ["y"]), dict.fromkeys(held)).items()))  # fmt: skip
    rows = {"t1": waves(5, 3), "t2": waves(5, 3), "t3": waves(5, 3, 2), "t4": waves(5), "t5": np.ones((5, 3), np.int64), "x": waves(5, 3), "w": waves(3, 5)}  # fmt: skip
    looks = [
        node("Gather", ["t1", "i"], ["a"], "g1"), node("Gather", ["t2", "i"], ["b"], "g2"), node("Gather", ["t2", "j"], ["c"], "g3", axis=0), node("Gather", ["t3", "i"], ["d"], "g4"), node("Gather", ["t4", "i"], ["e"], "g5"), node("Gather", ["t5", "i"], ["f"], "g6"),
        node("Gather", ["x", "i"], ["h"], "g7"), node("Gather", ["w", "i"], ["k"], "g8", axis=1),
    ]  # fmt: skip
    for more in ([], [node("MatMul", ["a", "t1"], ["y"])], [node("Neg", ["t2"], ["y"])], [node("Gather", ["w", "j"], ["y"], "g9", axis=-1)]):  # fmt: skip
        yield told(sorted(graph.tables(model([*looks, *more], rows, ("x", "i", "j"), ("y",)))))
    yield told(sorted(graph.tables(model(looks[:1], rows, ("i",), ("a", "t1")))))
    large, other, small = waves(32, 32), waves(32, 32, scale=2), waves(31, 33)
    branches = [
        inner("then", [node("Add", ["big", "mine"], ["b1"]), node("If", ["c"], ["o"], then_branch=inner("deep", [node("Add", ["mine", "big"], ["o1"])], "o1", {"big": large}), else_branch=inner("d2", [node("Neg", ["mine"], ["o2"])], "o2", {}))], "b1", {"big": large, "mine": small}),
        inner("else", [node("Sub", ["big", "same"], ["b2"]), node("Sub", ["b2", "big.shared"], ["b3"])], "b3", {"big": other, "same": large, "big.shared": large}),
        inner("end", [node("Neg", ["big"], ["b4"])], "held", {"held": large, "big": waves(1024)}),
    ]  # fmt: skip
    whole = model([node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]), node("Loop", ["m", "c"], ["z", "big.shared"], body=branches[2])], {"top": large, "same.shared": small}, ("c", "m"), ("y", "z", "top"))  # fmt: skip
    yield told(sorted(graph.users(whole).items()))
    yield told([each.op_type for each in graph.all_nodes(whole)])
    yield told([each.name for each in graph.inner_graphs(whole.graph)])
    graph._share_constants(whole)
    yield from described_whole(whole)
    graph.name_nodes(whole)
    yield told([each.name for each in graph.all_nodes(whole)])
    named = model([node("Neg", ["x"], ["a"], "Neg_1"), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["c"], "same"), node("Neg", ["c"], ["d"], "same"), node("Neg", ["d"], ["y"], "Neg_3_")], {})  # fmt: skip
    graph.name_nodes(named)
    yield told([each.name for each in named.graph.node])
    for domains in ({}, {"com_microsoft": 1}, {"ai_onnx_ml": 3, "com_microsoft": 1, "own": 2}):
        whole = model([node("Neg", ["x"], ["a"]), node("FusedMatMul", ["a", "w"], ["y"], domain="com.microsoft")][: len(domains) + 1], {"w": square, "left": square}, **domains)  # fmt: skip
        if "own" in domains:
            whole.functions.append(helper.make_function("own", "F", ["u"], ["v"], [node("Scaler", ["u"], ["v"], domain="ai.onnx.ml")], [helper.make_opsetid("ai.onnx.ml", 3)]))  # fmt: skip
        yield told(
            (graph.opset(whole), sorted(graph.weights(whole.graph)), sorted(graph.typed(whole).items()))
        )
        graph._drop_unused(whole)
        yield told(([one.name for one in whole.graph.initializer], [(one.domain, one.version) for one in whole.opset_import]))  # fmt: skip
    del whole.opset_import[:]
    yield told(graph.opset(whole))
    whole.opset_import.append(helper.make_opsetid("ai.onnx", 7))
    yield told((graph.opset(whole), graph.typed(model([node("Nothing", ["x"], ["y"])], {}))))
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        whole = model([node("Gemm", ["x", "w", "b"], ["a"]), node("Add", ["a", "half"], ["c"]), node("Add", ["half", "half"], ["half2"]), node("Mul", ["c", "half2"], ["y"])], {"w": waves(32, 32), "b": waves(32), "half": np.float32(0.5)}, opset=11)  # fmt: skip
        entry = whole.metadata_props.add()
        entry.key, entry.value = "made", "by hand"
        onnx.save(whole, str(folder / "m.onnx"))
        for above in (graph.EXTERNAL_ABOVE, (folder / "m.onnx").stat().st_size, (folder / "m.onnx").stat().st_size - 1, whole.ByteSize() - 100):  # fmt: skip
            patch.setattr(graph, "EXTERNAL_ABOVE", above)
            yield told(graph.is_large(folder / "m.onnx"))
            yield attempted(lambda: [*described_whole(graph.prepare(folder / "m.onnx"))])
            graph.save(whole, folder / "deep" / "er" / "m.onnx")
            yield told(
                [(path.name, path.stat().st_size) for path in sorted((folder / "deep" / "er").iterdir())]
            )
            yield told((graph._optimised(whole) is whole, [(one.key, one.value) for one in graph._optimised(whole).metadata_props]))  # fmt: skip
        patch.undo()
        for opset in (11, 12, 13, 14):
            onnx.save(model([node("Neg", ["x"], ["y"])], {}, opset=opset), str(folder / "o.onnx"))
            yield told(graph.opset(graph.prepare(folder / "o.onnx")))
        (folder / "broken.onnx").write_bytes(b"no model at all" * 40)
        yield attempted(lambda: graph.prepare(folder / "broken.onnx")).replace(name, "TMP")[:60]
        strange = model([node("Nothing", ["x"], ["y"], "n")], {})
        yield told((graph._optimised(strange) is strange,))


def cuts() -> Iterator[str]:
    """Where a graph of branches and of many outputs is cut, what is passed on, and what stages there are."""
    from onnx import helper

    branch = inner("then", [node("Mul", ["e", "w4"], ["b1"]), node("If", ["few"], ["b2"], then_branch=inner("in", [node("Add", ["b1", "d1"], ["i1"])], "i1", {}), else_branch=inner("out", [node("Sub", ["mine", "w4"], ["i2"])], "i2", {"mine": waves(4)}))], "b2", {})  # fmt: skip
    other = inner("else", [node("Identity", ["e"], ["b3"])], "b3", {})
    nodes = [
        node("MatMul", ["x", "w1"], ["a"]), node("Relu", ["a"], ["b"], "cut"), node("Split", ["b", "halves"], ["d1", "d2"], "both", axis=1), node("MatMul", ["b", "w2"], ["e"], "second"), node("ReduceSum", ["d2"], ["total"], "sum", keepdims=0),
        node("Greater", ["total", "nought"], ["few"], "is"), node("If", ["few"], ["f"], "branch", then_branch=branch, else_branch=other), node("Clip", ["f", "", "nought"], ["g"], "below"), node("Add", ["g", "a"], ["h"], "back"), node("MatMul", ["h", "w1"], ["y"], "again"),
    ]  # fmt: skip
    constants = {
        "w1": waves(8, 8),
        "w2": waves(8, 4),
        "w4": waves(4),
        "halves": np.array([4, 4]),
        "nought": np.float32(0),
    }
    whole = model([*nodes[:8], node("Concat", ["g", "d1"], ["gg"], "wide", axis=1), node("Add", ["gg", "a"], ["h"], "back"), nodes[9]], constants, ("x",), ("y", "b"), com_microsoft=1)  # fmt: skip
    each = list(whole.graph.node)
    yield told((_bytes(whole), _crossing(whole)))
    yield from (told((one.name, [*splitting._used(one)])) for one in each)
    yield told([splitting._passed(each, cut) for cut in range(len(each) + 1)])
    batch = {"x": waves(3, 8)}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        onnx.save(whole, str(folder / "m.onnx"))
        wanted = graph.session(whole).run(None, batch)
        for parts in (1, 2, 3, 11):
            paths = split(folder / "m.onnx", folder / f"s{parts}", parts, "size", batch)
            known = dict(batch)
            for path in paths:
                stage = onnx.load(str(path))
                yield told((path.name, stage.ir_version, [one.name for one in stage.graph.node], [(value.name, value.type.tensor_type.elem_type, [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]) for value in (*stage.graph.input, *stage.graph.output)], [one.name for one in stage.graph.initializer], [(one.domain, one.version) for one in stage.opset_import]))  # fmt: skip
                run = graph.session(stage)
                names = [value.name for value in run.get_outputs()]
                known |= dict(zip(names, run.run(names, {value.name: known[value.name] for value in run.get_inputs()}), strict=True))  # fmt: skip
            yield told(
                [np.abs(known[name] - value).max() for name, value in zip(("y", "b"), wanted, strict=True)]
            )
            yield (folder / f"s{parts}" / "stages.json").read_text()
        for parts in (12, 2):
            yield attempted(lambda parts=parts: split(folder / "m.onnx", folder / "none", parts, "time", {"z": waves(1)}) if parts == 12 else None)  # type: ignore[misc]  # fmt: skip
        onnx.save(model([node("Neg", ["x"], ["y"]), node("Neg", ["y"], ["z"])], {}, ("x", "a"), ("z", "x", "a")), str(folder / "o.onnx"))  # fmt: skip
        yield attempted(lambda: split(folder / "o.onnx", folder / "none", 2, "size", batch))
        runs: list[Any] = []

        def session(whole: Any, **settings: Any) -> Any:
            runs.append(sorted((key, str(value)) for key, value in settings.items() if key != "profile_file_prefix"))  # fmt: skip
            events = [{"name": f"{one}_kernel_time", "dur": dur} for one, dur in (("second", 7), ("second", 5), ("second", 9), ("cut", 3), ("strange", 1))]  # fmt: skip
            told_by = folder / "profile.json"
            told_by.write_text(
                json.dumps([*events, {"name": "cut", "dur": 1}, {"name": "model_run", "dur": 99}])
            )
            return SimpleNamespace(run=lambda wanted, given: runs.append((wanted, sorted(given))), end_profiling=lambda: str(told_by))  # fmt: skip

        patch.setattr(graph, "session", session)
        yield told((splitting._seconds(whole, batch), runs))
    alone = helper.make_node("Gemm", ["x", "", "b"], ["y"])
    yield told([*splitting._used(alone)])


def streams() -> Iterator[str]:
    """A model that keeps its weights outside, stored in fewer bits from file to file: every node, place and byte."""
    from onnx import external_data_helper

    constants = {
        "w": waves(32, 40), "turned": waves(40, 32), "small": waves(31, 33), "just": waves(32, 32), "deep": waves(2, 32, 32), "table": waves(70, 20), "other": waves(64, 32), "b": waves(40), "left": waves(40, 40), "ints": np.arange(2048).reshape(64, 32),
        "inside": waves(32, 32),
    }  # fmt: skip
    nodes = [
        node("MatMul", ["x", "w"], ["a"]), node("Gemm", ["x", "turned", "b"], ["c"], "turned", transB=1), node("Gemm", ["x", "left"], ["c2"], "not turned", transB=0), node("Gemm", ["x", "w", "b"], ["d"], "shared"), node("Gemm", ["x", "w", ""], ["d2"], "bare"), node("Gemm", ["x", "w", "b"], ["e"], "half", alpha=0.5),
        node("MatMul", ["x", "small"], ["f"], "small"), node("MatMul", ["x", "just"], ["g"], "just"), node("MatMul", ["x", "deep"], ["h"], "deep"), node("Gather", ["table", "i"], ["k"], "looked up"), node("Gather", ["table", "j"], ["l"], "again"), node("Gather", ["other", "i"], ["m"], "also used", axis=0),
        node("Add", ["other", "x"], ["n"], "using"), node("MatMul", ["x", "inside"], ["o"], "inside"), node("Neg", ["x"], ["p"], "one"), node("Gather", ["w", "i"], ["q"], "by column", axis=1), node("Add", ["x", "just"], ["r"], "no product"), node("MatMul", ["x", "ints"], ["s"], "ints"), node("MatMul", ["w", "x"], ["y"], "left"),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        for stretch, bits, domains in ((1 << 22, 8, {}), (100, 8, {"com_microsoft": 1}), (100, 4, {}), (40, 4, {"own": 1})):  # fmt: skip
            patch.setattr(streaming, "_STRETCH", stretch)
            whole = model(nodes, constants, ("x", "i", "j"), ("y",), **domains)
            external_data_helper.convert_model_to_external_data(whole, location="w.data", size_threshold=0)
            for tensor in whole.graph.initializer:
                if tensor.name == "inside":
                    del tensor.external_data[:]
                    tensor.data_location = 0
            onnx.save(whole, str(folder / "m.onnx"))
            streaming.stream(folder / "m.onnx", folder / "out" / "er" / "s.onnx", bits)
            found = onnx.load(str(folder / "out" / "er" / "s.onnx"), load_external_data=False)
            yield from (f"{one.domain}{one.op_type} {one.name!r} {list(one.input)} -> {list(one.output)} {[(a.name, a.i) for a in one.attribute]}" for one in found.graph.node)  # fmt: skip
            yield told([(one.domain, one.version) for one in found.opset_import])
            data = (folder / "out" / "er" / "s.onnx.data").read_bytes()
            for tensor in found.graph.initializer:
                place = {one.key: one.value for one in tensor.external_data}
                first = int(place.get("offset", 0))
                raw = data[first : first + int(place["length"])] if place else tensor.raw_data
                yield told((tensor.name, tensor.data_type, list(tensor.dims), sorted(place.items()), hashlib.sha256(raw).hexdigest()[:12]))  # fmt: skip
            yield told(len(data))
        whole = model([node("MatMul", ["x", "w"], ["y"])], {"w": waves(32, 40)})
        onnx.save(whole, str(folder / "i.onnx"))
        yield attempted(lambda: streaming.stream(folder / "i.onnx", folder / "out" / "i.onnx", 8))
        (folder / "raw").write_bytes(bytes(range(200)))
        with (folder / "to").open("w+b") as file:
            store = streaming._Store(folder, file, "to")
            for places in ({"offset": "3", "length": "50"}, {"offset": "190"}, {"length": "4"}, {}, None):
                tensor = onnx.TensorProto(name="t", data_type=3, dims=[1])
                for key, value in ({"location": "raw", **places} if places is not None else {}).items():
                    tensor.external_data.add(key=key, value=value)
                copied = store.copied(tensor)
                yield told((copied.name, list(copied.dims), copied.data_type, [(one.key, one.value) for one in copied.external_data], file.tell()))  # fmt: skip
        for tensor in (onnx.TensorProto(dims=[3], external_data=[onnx.StringStringEntryProto(key="location", value="raw")]),):  # fmt: skip
            yield told(store.read(tensor).view(np.uint8))
    for bits in (8, 4):
        for stretch in (1 << 22, 64, 70, 1):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(streaming, "_STRETCH", stretch)
                rows = waves(5, 70, scale=3)
                rows[2] = 0
                scales = np.zeros((5, 3), np.float32)
                pieces = [*streaming._packed(rows, bits, scales)]
                yield told(([len(piece) for piece in pieces], scales, hashlib.sha256(np.concatenate(pieces).tobytes()).hexdigest()[:12], np.concatenate(pieces)[0, 0, :9]))  # fmt: skip


def node_by_node() -> Iterator[str]:
    """What each form makes of single nodes, what is seen of their tensors, and what is taken back at the end."""
    from onnx import TensorProto

    from gradatim.compression import centring, equalising, observing, sensitivity
    from gradatim.compression.forms import blocks, dynamic, rows, static, stored

    def after(change: Callable[[Any], Any], whole: Any) -> Iterator[str]:
        before = {*described_whole(whole)}
        found = [*described_whole(change(whole) or whole)]
        yield from (entry for entry in found if entry not in before)
        yield told(["gone", *sorted(entry[:20] for entry in before - {*found})])

    table, scale, zero = waves(40, 64), np.float32(0.01), np.uint8(128)
    ends = {"scale": scale, "zero": zero, "zero8": np.int8(3), "scales": np.float32([0.1, 0.2])}
    looked = node("Gather", ["t", "i"], ["r"], "look")
    behind = {
        "rounded": [node("QuantizeLinear", ["r", "scale", "zero"], ["y"])], "rounded twice alike": [node("QuantizeLinear", ["r", "scale", "zero"], ["y"]), node("QuantizeLinear", ["r", "scale", "zero"], ["z"])],
        "rounded in two ways": [node("QuantizeLinear", ["r", "scale", "zero"], ["y"]), node("QuantizeLinear", ["r", "scale", "zero8"], ["z"])], "moved": [node("Transpose", ["r"], ["m"]), node("Reshape", ["m", "shape"], ["m2"]), node("QuantizeLinear", ["m2", "scale", "zero8"], ["y"])],
        "moved and used": [node("Transpose", ["r"], ["m"]), node("QuantizeLinear", ["m", "scale", "zero"], ["y"]), node("Neg", ["m"], ["z"])], "given out": [node("QuantizeLinear", ["r", "scale", "zero"], ["q"]), node("Identity", ["r"], ["y"])], "an axis": [node("QuantizeLinear", ["r", "scales", "zero"], ["y"])],
        "by what is made": [node("QuantizeLinear", ["r", "made", "zero"], ["y"])], "without a zero": [node("QuantizeLinear", ["r", "scale"], ["y"])], "a shape": [node("Reshape", ["x", "r"], ["m"]), node("QuantizeLinear", ["m", "scale", "zero"], ["y"])], "nothing": [],
        "twice looked up": [node("Gather", ["t", "j"], ["r2"], "look2"), node("QuantizeLinear", ["r", "scale", "zero"], ["y"]), node("QuantizeLinear", ["r2", "scale", "zero"], ["z"])],
    }  # fmt: skip
    for name, more in behind.items():
        yield name
        yield from after(lambda whole: rows.in_8_bits(whole, {"look", "look2"}, None), model([looked, *more], {"t": table, **ends}, ("x", "i", "j", "made", "shape")))  # type: ignore[arg-type]  # fmt: skip
    high = np.float32([[3.0, -900.0], [0.004, 0.006]])
    yield from after(lambda whole: rows.in_8_bits(whole, {"look"}, None), model([looked, *behind["rounded"]], {"t": high, **ends}, ("i",)))  # type: ignore[arg-type]  # fmt: skip
    two = [node("Gather", ["t", "i"], ["a"], "look"), node("Gather", ["t", "j"], ["b"], "look2"), node("Gather", ["t", "k"], ["c"], "not"), node("Gather", ["x", "k"], ["y"], "made")]  # fmt: skip
    for change, domains in (
        (rows.in_8_bits, {}),
        (rows.in_4_bits, {}),
        (rows.in_4_bits, {"com_microsoft": 1}),
        (rows.in_16_bits, {}),
    ):
        whole = model(two, {"t": table}, ("x", "i", "j", "k"), **domains)
        yield from after(lambda whole, change=change: change(whole, {"look", "look2", "made"}, None), whole)  # type: ignore[misc]  # fmt: skip
        yield told([(one.domain, one.version) for one in whole.opset_import])
    packed, scales = rows._packed(np.float32([[0, 7, -7, 3.5], [0, 0, 0, 0], [1, -1, 0.5, 100]]), 2)
    yield told((packed, scales))
    none = np.zeros(0, np.float32)
    seen = {"x": observing.Observed(-1, 1, 24, np.float32([1, 2, 3, 4]), none), "few": observing.Observed(-1, 1, 24, np.float32([1, 2]), none), "loud": observing.Observed(0, 9, 9, none, np.float32([1, 1, 1, 9]))}  # fmt: skip
    for bits in (8, 7):
        known = SimpleNamespace(seen=seen, weight_bits=bits)
        convolved = [
            node("Conv", ["x", "k", "b"], ["a"], "plain"), node("Conv", ["x", "k"], ["c"], "bare"), node("Conv", ["x", "g", "b"], ["d"], "groups", group=2), node("Conv", ["few", "k", "b"], ["e"], "too few"), node("Conv", ["unseen", "k", "b"], ["f"], "unseen"),
            node("Conv", ["x", "x"], ["h"], "made"), node("MatMul", ["x", "w"], ["y"], "product"), node("Conv", ["x", "k", "b"], ["l"], "left out"),
        ]  # fmt: skip
        held = {"k": waves(6, 4, 3, 3), "b": waves(6), "g": waves(6, 2, 1, 1), "w": waves(4, 40)}
        names = {one.name for one in convolved} - {"left out"}
        for change in (
            stored.correct_biases,
            stored.in_8_bits,
            stored.in_16_bits,
            dynamic._divide_loud_columns,
        ):
            yield from after(lambda whole, change=change, known=known, names=names: change(whole, names, known), model(convolved, held, ("x", "few", "unseen")))  # type: ignore[misc]  # fmt: skip
    loud = [node("MatMul", ["loud", "w"], ["a"], "one"), node("MatMul", ["loud", "w"], ["b"], "two"), node("MatMul", ["loud", "x"], ["y"], "made"), node("MatMul", ["x", "w"], ["c"], "quiet")]  # fmt: skip
    yield from after(lambda whole: dynamic._divide_loud_columns(whole, {"one", "made", "quiet"}, SimpleNamespace(seen=seen)), model(loud, {"w": waves(4, 3)}, ("x", "loud")))  # type: ignore[arg-type]  # fmt: skip
    chain = [
        node("Conv", ["x", "k"], ["a"], "conv"), node("Relu", ["a"], ["b"], "cut"), node("Clip", ["b", "low", ""], ["c"], "twice"), node("Add", ["b", "c"], ["d"], "join"), node("Add", ["d", "one"], ["e"], "by one"), node("MatMul", ["e", "w"], ["f"], "product"), node("Relu", ["f"], ["g"], "end"),
        node("MaxPool", ["d"], ["h"], "pool", kernel_shape=[1, 1]), node("Concat", ["h", "d"], ["m"], "both", axis=1), node("Concat", ["h", "g"], ["n"], "one float", axis=1), node("Relu", ["x"], ["o"], "of none"), node("Relu", ["m"], ["y"], "after"), node("Relu", ["h"], ["q"], "used twice"),
    ]  # fmt: skip
    for chosen in ({"conv"}, {"product"}, {"conv", "product"}, set()):
        yield told(sorted(static._followers(model(chain, {"k": waves(4, 4, 1, 1), "low": np.float32(0), "one": np.float32(1), "w": waves(4, 4)}), chosen)))  # fmt: skip
    products = [node("MatMul", ["x", "w"], ["a"], "m"), node("Gemm", ["x", "v", "b"], ["c"], "g", transB=1), node("MatMul", ["x", "x"], ["y"], "made"), node("MatMul", ["x", "w"], ["d"], "left")]  # fmt: skip
    for change in (blocks.in_8_bits, blocks.in_4_bits):
        yield from after(lambda whole, change=change: change(whole, {"m", "g", "made"}, None), model(products, {"w": waves(256, 8), "v": waves(8, 96), "b": waves(8)}))  # type: ignore[misc]  # fmt: skip
    for axis, bits in ((0, 4), (1, 4), (1, 8), (-1, 8), (0, 8)):
        yield told((axis, bits, hashlib.sha256(np.rint(blocks._rounded(waves(6, 70, scale=2), axis, bits) * 1e4).astype(np.int64).tobytes()).hexdigest()[:10], blocks._rounded(waves(6, 70), axis, bits)[1, :6]))  # fmt: skip
    for peaks in (
        [1.0, 2.0, 0.9],
        [8.0, 1.0, 0.0],
        [4.0, 1.0, 0.25, 0.26],
        [1024.0, 1.0, 3.9],
        [0.0, 0.0],
        [],
    ):
        yield told(equalising._gains(np.float32(peaks)))
    yield told(sensitivity._outermost_first([]))
    watched = [
        node("Conv", ["x", "k"], ["a"], "c1"), node("Relu", ["a"], ["b"], "r1"), node("Flatten", ["b"], ["f"], "flat"), node("MatMul", ["f", "w"], ["m"], "m1"), node("Gemm", ["m", "v", "bias"], ["g"], "g1", transB=1), node("Gather", ["t", "words"], ["e"], "look"), node("Add", ["g", "g"], ["y"], "sum"),
        node("MatMul", ["e", "deep"], ["z"], "m3"), node("Shape", ["x"], ["s"], "shape"), node("Concat", ["s", "s"], ["ss"], "ints", axis=0), node("Gemm", ["m", "u"], ["g2"], "g2", transB=0),
    ]  # fmt: skip
    held = {
        "k": waves(3, 2, 2, 2),
        "w": waves(12, 5),
        "v": waves(4, 5),
        "u": waves(5, 3),
        "bias": waves(4),
        "t": waves(30, 6),
        "deep": waves(1, 6, 2),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, _ = write_batches(iter([{"x": waves(3, 2, 3, 3), "words": np.array([[1, 2], [3, 4]])}, {"x": waves(4, 2, 3, 3, scale=3), "words": np.array([[7, 9]])}]), folder)  # fmt: skip
        for opset in (13, 17, 18, 19):
            whole = model(watched, held, ("x", "words"), ("y", "z"), opset=opset)
            del whole.graph.input[:], whole.graph.output[:]
            from onnx import helper

            whole.graph.input.extend([helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 3, 3]), helper.make_tensor_value_info("words", TensorProto.INT64, ["m", "l"])])  # fmt: skip
            whole.graph.output.extend([helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4]), helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])  # fmt: skip
            found = observing.observe(whole, paths, folder / f"seen{opset}.npz")
            for tensor, one in found.items():
                yield told(
                    (opset, tensor, one.bounds, one.lowest, one.highest, one.size, one.means, one.peaks)
                )
        yield told(observing._floats(whole))
        yield told(observing.observe(model([node("Shape", ["x"], ["y"])], {}), paths, folder / "none.npz"))
        yield told(observing.Observed(0.5, 2.0, 1, none, none).bounds)
        data = Calibrated(whole, paths, folder / "kept.npz")
        able = fitting(whole)
        yield told((able, sensitivity._costs(data, able)))
        yield told(sensitivity._costs(data, {"look": [], "c1": []}))
        simulated = sensitivity._Simulated(data, {**able, "m1": ["static", "dynamic"], "g1": ["static"]}, 1)
        yield told(sorted((key, value.shape) for key, value in simulated._idle.items()))
        for one, form in (("c1", "static"), ("m1", "static"), ("m1", "dynamic"), ("g1", "static"), ("m1", "blocks4"), ("c1", "stored16")):  # fmt: skip
            yield told((one, form, f"{simulated.loss(one, form):.3g}"))
            yield told(sorted((key, value.shape, float(np.abs(value).sum())) for key, value in simulated._changes(simulated._nodes[one], form).items()))  # fmt: skip
        for low, high, gain in (
            (-1.0, 3.0, 1.0),
            (0.0, 255.0, np.float32([1, 2])),
            (0.0, 0.0, 2.0),
            (-2.55, 0.0, 1.0),
        ):
            yield told(sorted(sensitivity._rounding("n", low, high, gain).items()))
        quantised = [
            node("DequantizeLinear", ["qk", "sk"], ["dk"], "dk"), node("DequantizeLinear", ["qb", "sb"], ["db"], "db"), node("Conv", ["x", "dk", "db"], ["a"], "c1"), node("Conv", ["x", "dk"], ["b"], "c2"), node("Add", ["a", "b"], ["y"], "sum"),
        ]  # fmt: skip
        plain = [node("Conv", ["x", "k", "bias"], ["a"], "c1"), node("Conv", ["x", "k"], ["b"], "c2"), node("Add", ["a", "b"], ["y"], "sum")]  # fmt: skip
        exact = {"k": waves(3, 2, 2, 2), "bias": waves(3)}
        rounded = {"qk": np.rint(waves(3, 2, 2, 2) * 9).astype(np.int8), "sk": np.float32(1 / 9), "qb": np.array([0, 0, 1], np.int32), "sb": np.float32(0.05)}  # fmt: skip
        for few in (paths, paths[:1]):
            for sizes in ((3, 4), (4, 4)):
                some, _ = write_batches(iter([{"x": waves(size, 2, 3, 3)} for size in sizes]), folder, "few")
                one = model(quantised, rounded, shape=None)
                centring.centre(one, model(plain, exact, shape=None), some if few is paths else some[:1])
                yield told([entry for entry in described_whole(one) if entry.startswith("qb")])
        deep = [node("Gemm", ["x", "w"], ["a"], "g1"), node("Relu", ["a"], ["b"]), node("Conv", ["b", "k"], ["c"], "c1"), node("MatMul", ["c", "w"], ["d"], "m1"), node("Gemm", ["c", "w"], ["e"], "g2"), node("Gemm", ["x", "made"], ["f"], "g3"), node("Add", ["d", "e"], ["y"])]  # fmt: skip
        yield told([one.name for one in centring._last(model(deep, {"w": waves(4, 4), "k": waves(1, 1)}))])
        yield told([one.name for one in centring._last(model(deep[:3], {"w": waves(4, 4), "k": waves(1, 1)}, found=("a", "c")))])  # fmt: skip


def carried_out() -> Iterator[str]:
    """Which part does what of each attempt, and what is compared with what: every part tells what it was given."""
    done: list[str] = []

    def says(name: str, found: Any = None) -> Callable[..., Any]:
        def part(*given: Any, **more: Any) -> Any:
            done.append(f"{name}{told([*map(plain, given), *(f'{key}={plain(value)}' for key, value in more.items())])}")  # fmt: skip
            return found(*given, **more) if callable(found) else found

        return part

    def plain(value: Any) -> Any:
        if isinstance(value, Model | Path | str):
            return str(value)
        if isinstance(value, Recipe):
            return value.name
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        return [*map(plain, value)] if hasattr(value, "__iter__") else value

    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        def __str__(self) -> str:
            return f"<{self.name}>"

        def __enter__(self) -> Model:
            return self

        def __exit__(self, *_: object) -> None:
            done.append(f"close {self}")

        def __call__(self, inputs: Any) -> str:
            return f"{self}({inputs})"

    opened = {"path": "m.pt2", "threads": 1, "device": "cpu", "format": "pt2"}
    common = {"out": "dir/out", "batches": ["b1", "b2"], "timing": ["t1", "t2", "t3"], "seed": 5}
    taught = {"opened": opened, "learned": ["l1", "l2"], **common}
    wired = {"export_model": None, "convert_model": None, "halve": None, "prune": None, "shorten": None, "distil": None, "train_by": None, "export_torch": None, "quantise_by_nncf": "nncf", "trainable": lambda model: model, "student_of": lambda *_: Model("student"),
             "batched": lambda model: Model(f"each of {model.name}"), "check_parity": 0.25, "chances": lambda model, lines: f"{model} on {lines}", "likeness": {"fidelity": 0.5}, "_latency_ratio": 1.5, "_fidelity": lambda *_: {"fidelity": 0.75},
             "memory_of": lambda paths, *_: [len(path.name) for path in paths], "_carry_out": None}  # fmt: skip
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        stages = [Path(name, f"s{number}") for number in (1, 2)]
        for number, stage in enumerate(stages, 3):
            stage.write_bytes(bytes(number))
        for part, found in {**wired, "split": stages}.items():
            patch.setattr(attempt, part, says(part.lstrip("_"), found))
        patch.setattr(attempt, "load_inputs", lambda path: f"rows of {path}")
        patch.setattr(attempt, "open_described", says("open", lambda given: Model(str(given["path"]))))
        patch.setattr(attempt, "open_model", says("open", lambda path, **_: Model(str(path))))
        for module, parts in ((graph, {"prepare": "graph", "save": None, "is_large": lambda path: "large" in str(path)}), (streaming, {"stream": None}), (attempt.language, {"shortened": None, "stored": None, "asked": ["line"]})):  # fmt: skip
            for part, found in parts.items():
                patch.setattr(module, part, says(part, found))
        patch.setattr(attempt, "Calibrated", says("calibrate", "data"))
        patch.setattr(attempt, "quantise", says("quantise", "graph"))
        patch.setattr(attempt, "shorten_names", says("shorten_names"))
        tried = {
            "model": "m.onnx",
            "root": "root",
            "learned": ["l1"],
            "ranges": "seen",
            "least": ("cosine", 0.9),
            **common,
        }
        teach = {**taught, "model": "m.onnx", "root": "root", "seconds": 60.0}
        speak = {**taught, "source": "folder", "root": "root", "heard": "heard", "seconds": 60.0}
        for work, given in (
            *((attempt._try, {**tried, "source": source, "threads": threads, "recipe": asdict(recipe)}) for source, threads, recipe in (
                ("large", 2, Recipe("int8-weights")), ("large", 1, Recipe("int4-weights")), ("large", 1, Recipe("int8-weights", unpacked=True)), ("large", 1, Recipe("int8-weights", (("a", "float"),))), ("small", 1, Recipe("int8-weights")), ("large", 1, Recipe("int8-static", reduce_range=True, ranges="mse")),
                ("s", 1, Recipe("nncf")), ("s", 1, Recipe("mine:f", code="c")))),
            (attempt._export, {"opened": opened, **common}), (attempt._export, {"opened": {**opened, "threads": 2}, **common}), (attempt._halve, taught), (attempt._halve, {**taught, "opened": {**opened, "device": "cuda"}}), (attempt._litert, {**taught, "numbers": "float"}), (attempt._litert, {**taught, "numbers": "int8"}),
            *((attempt._learn, {**teach, "recipe": asdict(recipe)}) for recipe in (Recipe("pruned", share=0.5), Recipe("pruned", share=0.5, shorter=2), Recipe("student", student="mine:net"), Recipe("pruned", share=0.25, train="mine:teach"))),
            *((attempt._split, {"model": "m.onnx", "whole": "w.onnx", "parts": 2, "by": "time", "threads": threads, **common}) for threads in (1, 2)),
            *((attempt._speak, {**speak, "recipe": asdict(recipe)}) for recipe in (Recipe("int8-weights"), Recipe("mine:f", code="c"), Recipe("pruned", share=0.5), Recipe("student", student="mine:net"), Recipe("pruned", train="mine:teach"))),
            (attempt._speak, {**speak, "source": name, "recipe": asdict(Recipe("pruned", share=0.5))}), (attempt._hear, {"opened": opened, "batches": ["b1"], "heard": "heard"}), (attempt._rank, {"model": "m.onnx", "batches": ["b1"], "ranges": "seen", "reduce_range": False, "seconds": 9.0}), (attempt._rank, {"model": "m.onnx", "batches": ["b1"], "ranges": "seen", "reduce_range": True, "seconds": 9.0}),
        ):  # fmt: skip
            patch.setattr(attempt, "sensitivities", says("sensitivities", {}))
            yield f"{work.__name__}: {attempted(lambda work=work, given=given: work(**json.loads(json.dumps(given))))}"  # type: ignore[misc]  # fmt: skip
            yield from (f"  {entry}".replace(name, "TMP") for entry in done)
            done.clear()
        request, answer, limits = Path(name, "request.json"), Path(name, "deep.json"), list[Any]()
        patch.setattr("resource.setrlimit", lambda kind, both: limits.append(both))
        patch.setattr(attempt, "die_with", says("die_with"))
        patch.setattr(attempt, "quiet_logs", says("quiet_logs"))
        for error in (MemoryError("x"), ValueError("first\nsecond"), ValueError(""), RuntimeError("é" * 400), InvalidInput("it is no model"), EnvironmentLacks("a package is missing")):  # fmt: skip
            patch.setattr(
                attempt, "_original", says("original", lambda error=error, **_: (_ for _ in ()).throw(error))
            )
            request.write_text(
                json.dumps({"do": "original", "parent": 7, "memory_limit": 1 << 30, "opened": "m"})
            )
            attempt.main(request, answer)
            yield answer.read_text()
            yield from done
            done.clear()
        yield told(limits)
        patch.setattr("resource.setrlimit", says("limit", lambda *_: (_ for _ in ()).throw(ValueError("no"))))
        attempt._limit_memory(1000)
        yield told(done)


def trial(name: str, size: float | None, latency: float | None, fidelity: float, **more: Any) -> Trial:
    made = Trial(
        name, {"method": name}, True, "it gains", {"fidelity": fidelity, "accuracy": 0.9}, 100, size, latency
    )
    return replace(made, **more)


def attempts() -> Iterator[str]:
    """One attempt after another, without its timing."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        timed: list[Any] = []
        patch.setattr(attempt, "_latency_ratio", lambda *given, **more: timed.append((len(given[2]), *given[3:], more)) or 1.0)  # fmt: skip
        model = picture_net(folder / "m.onnx")
        paths, _ = write_batches(iter([{"x": waves(12, 3, 8, 8)}, {"x": waves(4, 3, 8, 8, scale=2)}]), folder)
        batches = [str(path) for path in paths]
        common = {"batches": batches, "timing": batches[:1], "seed": 0}
        opened = {**Contestant("m", model, folder, format="onnx").opening}
        yield told(attempt._original(opened, batches))
        for recipe in (
            Recipe("int8-static", reduce_range=True),
            Recipe("int8-static"),
            Recipe("int8-weights", unpacked=True),
        ):
            out = folder / recipe.name / "m.onnx"
            found = attempt._try(
                model=str(model),
                source=str(model),
                out=str(out),
                recipe=json.loads(json.dumps(asdict(recipe))),
                root=name,
                learned=batches,
                ranges=str(folder / f"{recipe.name}.npz"),
                threads=1,
                least=("fidelity", 0.95),
                **common,
            )  # type: ignore[arg-type]
            yield told(
                (
                    found["fidelity"]["fidelity"] > 0.9,
                    found["fidelity"]["agreement"] > 0.8,
                    found["latency_ratio"],
                )
            )
            yield from (entry for entry in described(onnx.load(str(out))) if " 3 [" in entry)
        yield told(timed)
        ranked = attempt._rank(str(model), batches, str(folder / "rank.npz"), True, 60.0)
        yield told([(node, sorted(forms)) for node, forms in ranked["losses"].items()])
        for parts, by in ((2, "size"), (3, "size")):
            cut = attempt._split(
                model=str(model),
                whole=str(model),
                parts=parts,
                by=by,
                out=str(folder / f"s{parts}"),
                threads=1,
                **common,
            )  # type: ignore[arg-type]
            yield told(
                (
                    len(cut["sizes"]),
                    len(cut["memory"]),
                    cut["fidelity"]["parity"] < 1e-5,
                    cut["memory_whole"] > 0,
                )
            )
        (folder / "mine.py").write_text(
            "import shutil\ndef copy(a, b): shutil.copy(a, b)\ndef none(a, b): pass\ndef bad(a, b): raise ValueError('no')\n"
        )
        for method in ("mine:copy", "mine:none", "mine:bad", "mine:gone"):
            yield attempted(
                lambda method=method: attempt._carry_out(method, folder, model, folder / "own" / method[5:])
            ).replace(name, "TMP")  # type: ignore[misc]
        request, answer = folder / "request.json", folder / "answer.json"
        for asked in (
            {"do": "original", "opened": opened, "batches": batches},
            {"do": "original", "opened": {**opened, "path": str(folder / "none.onnx")}, "batches": batches},
        ):
            patch.setattr(attempt, "die_with", lambda _: None)
            patch.setattr(attempt, "_limit_memory", lambda _: None)
            patch.setattr(attempt, "quiet_logs", lambda: None)
            request.write_text(json.dumps({**asked, "parent": 1, "memory_limit": 1}))
            attempt.main(request, answer)
            yield answer.read_text().replace(name, "TMP")
        once = {"calls": 0}

        def interleaved(calls: Any, seed: int, *, one_thread: bool = False) -> dict[str, list[float]]:
            once["calls"] += 1
            return {"original": [1.0] * 4, "candidate": [once["calls"] * 1.5] * 4}

        patch.undo()
        patch.setattr(attempt, "interleaved", interleaved)

        def whole_only(rows: Any) -> Any:
            if len(rows["x"]) == 1:
                raise InvalidInput("no single row")
            return rows

        for original, rows in ((lambda rows: rows, 3), (lambda rows: rows, 1), (whole_only, 3)):
            yield told(attempt._latency_ratio(original, original, calls_of({"x": waves(rows, 2)}), 0))  # type: ignore[arg-type]
        yield attempted(
            lambda: attempt._latency_ratio(whole_only, whole_only, calls_of({"x": waves(1, 2)}), 0)
        )  # type: ignore[arg-type]


def dense_layers() -> Iterator[str]:
    """Loud columns, products that are turned and not, convolutions that may be evened out and not, distances of vectors."""
    from onnx import helper

    loud = waves(64, 40)
    loud[:, 3] *= 90
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layers = [
            helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"), helper.make_node("Tanh", ["a"], ["b"]), helper.make_node("Gemm", ["b", "w2", "c2"], ["c"], transA=0, transB=0, alpha=1.0, name="plain"),
            helper.make_node("Gemm", ["c", "w3"], ["y"], transB=1, name="turned"),
        ]  # fmt: skip
        weights = {"w1": waves(40, 30), "w2": waves(30, 50, scale=0.2), "c2": waves(50), "w3": waves(20, 50)}
        data = calibrated(
            written(folder / "d.onnx", layers, ("x", ["n", 40]), ("y", ["n", 20]), weights),
            [{"x": loud}],
            folder,
        )
        for method in ("int8-dynamic", "int8-static", "int8-weights", "fp16"):
            yield method
            yield from described(quantise(Recipe(method), data))
        whole = onnx.load(str(folder / "d.onnx"))
        big = {"w2": waves(30, 1100), "c2": waves(1100), "w3": waves(20, 1100)}
        outside = written(folder / "o.onnx", layers, ("x", ["n", 40]), ("y", ["n", 20]), weights | big)
        onnx.save_model(
            onnx.load(str(outside)),
            str(outside),
            save_as_external_data=True,
            location="o.weights",
            size_threshold=0,
        )
        for bits in (8, 4):
            streaming.stream(outside, folder / "out" / "o.onnx", bits)
            yield from described(onnx.load(str(folder / "out" / "o.onnx"), load_external_data=False))
            yield told((folder / "out" / "o.onnx.data").stat().st_size)
        yield told((_bytes(whole), _crossing(whole)))
        nodes = [
            helper.make_node("Conv", ["x", "k1"], ["a"], name="first"), helper.make_node("Clip", ["a", "", "high"], ["b"], name="above"), helper.make_node("Conv", ["b", "k2"], ["c"], name="second"),
            helper.make_node("Clip", ["c", "low", ""], ["d"], name="below"), helper.make_node("Add", ["b", "d"], ["e"], name="sum"), helper.make_node("Conv", ["e", "k2"], ["f"], name="third"), helper.make_node("Add", ["f", "one"], ["y"], name="more"),
        ]  # fmt: skip
        bent = calibrated(
            written(folder / "c.onnx", nodes, ("x", ["n", 8, 4, 4]), ("y", ["n", 8, 4, 4]), {"k1": waves(8, 8, 1, 1), "k2": waves(8, 8, 3, 3)[:, :, :1, :1].copy(), "low": np.float32(-1), "high": np.float32(1), "one": np.ones((1, 8, 1, 1), np.float32)}),
            [{"x": waves(4, 8, 4, 4)}], folder / "c",
        )  # fmt: skip
        yield from described(quantise(Recipe("int8-static"), bent))
        for kernel, groups, second_use in ((1, 8, False), (8, 1, False), (1, 8, True), (2, 4, False)):
            nodes = [
                helper.make_node("Conv", ["x", "k1", "b1"], ["a"], name="first"), helper.make_node("Relu", ["a"], ["b"]),
                helper.make_node("Conv", ["b", "k2"], ["c"], group=groups, name="second"), helper.make_node("Add" if second_use else "Identity", ["c", "b"] if second_use else ["c"], ["y"]),
            ]  # fmt: skip
            quiet = waves(8, 3, 1, 1)
            quiet[2] *= 0.01
            net = calibrated(
                written(folder / "e.onnx", nodes, ("x", ["n", 3, 4, 4]), ("y", ["n", 8, 4, 4]), {"k1": quiet, "b1": waves(8, scale=0.001), "k2": waves(8, kernel, 1, 1)}),
                [{"x": waves(6, 3, 4, 4)}], folder / "e",
            )  # fmt: skip
            yield told((kernel, groups, second_use, equalisable(net.prepared)))
            for seen in (observe(net.prepared, net.batches, net.kept), {}):
                turned, found = equalised(net.prepared, seen)
                yield from described(turned)
                yield told(
                    [
                        (tensor, one.peaks[:4], one.means[:4])
                        for tensor, one in found.items()
                        if one.means.size
                    ]
                )
        nodes = [
            helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["x", "t"], ["s"], name="two"), helper.make_node("Gemm", ["s", "x"], ["g"], name="gemm"),
            helper.make_node("MatMul", ["g", "w"], ["m"], name="one"), helper.make_node("Gather", ["m", "i"], ["y"], name="row"),
        ]  # fmt: skip
        net = onnx.load(str(written(folder / "a.onnx", nodes, ("x", ["n", 4]), ("y", ["n", 3]), {"w": waves(4, 3), "i": np.array([0])})))  # fmt: skip
        yield from (f"{node}: {fits}" for node, fits in fitting(net).items())
    for shape in ((4, 6, 1), (4, 1, 6), (4, 6, 3), (6,), (6, 1)):
        one = Fidelity()
        one.add({"y": waves(*shape)}, {"y": waves(*shape) + waves(*shape, scale=0.2)[::-1]})
        yield told(one.result())
    some = [
        trial("all", 1.0, 1.0, 0.9), trial("unknown", None, None, 0.99), trial("half", None, 0.5, 0.95), trial("size", 0.5, None, 0.95),
        trial("same", 0.5, None, 0.95), trial("close", 0.505, 1.03, 0.96), trial("closer", 0.506, 1.031, 0.97),
    ]  # fmt: skip
    yield told([[one.name for one in pareto(some[at:])] for at in range(len(some))])
    yield told([[one.name for one in pareto([some[0], other])] for other in some[1:]])
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "own.py").write_text("def bend(): ...\ndef student(): ...\n")
        (root / "teach.py").write_text("def train(): ...\n")
        for passes, student, train in (((), None, None), (("own:bend",), None, "teach:train"), ((), "own:student", None), (("own:bend",), "own:student", "teach:train")):  # fmt: skip
            recipes = (Recipe("fp16"), Recipe("pruned", share=0.25), Recipe("int8-static"))
            yield from (
                told((one.name, one.method, one.student, one.train, one.code, one.share))
                for one in with_own(recipes, root, passes, student, train)
            )


def packed() -> Iterator[str]:
    """A language model's folder in fewer bits: every word, scale and place, and what lies beside."""
    for dtype in ("F32", "F16", "BF16"):
        numbers = np.concatenate([waves(6, 3).reshape(-1), np.float32([0, 1e-8, 3e38 if dtype != "F16" else 6e4, -1.00390625, 1.01171875])])  # fmt: skip
        raw = packing.as_bytes(numbers, dtype)
        yield told((dtype, raw.hex(), packing.as_floats(raw, dtype)))
        for bits in (4, 8):
            matrix = waves(3, 64, scale=2)
            matrix[1, :32] = 0
            matrix[2, 5] = 9
            matrix[0, :32] = [-1, *(0.82 / 7.5 * (place % 6 + 1) for place in range(31))]
            words, scales = packing.rounded(matrix, dtype, bits)
            yield told((bits, len(words), words.hex()[:200], packing.as_floats(scales, dtype)))
            yield told(packing._packed_shapes("l", dtype, (5, 96), bits))
            yield told([packing._fits(dtype, shape, bits) for shape in ((4, 32), (4, 40), (4,), (4, 32, 2))])
    yield told(packing._fits("I8", (4, 32), 8))
    for columns, bits in ((7, 4), (8, 4), (9, 4), (5, 8)):
        whole = np.arange(2 * columns, dtype=np.float32).reshape(2, columns) % 7 - 3
        yield packing._words(whole, bits).hex()
    shapes = {"a.weight": (9, 64), "b.weight": (8, 40), "head.weight": (7, 32), "a.bias": (9,), "embed.weight": (7, 32)}  # fmt: skip
    for sharded, stretch in ((False, 1 << 22), (True, 128), (True, 300)):
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            folder, out = Path(name, "m"), Path(name, "out")
            folder.mkdir()
            patch.setattr(packing, "_linear_layers", lambda _: ({"a", "b", "head"}, {"head"}))
            patch.setattr(packing, "_STRETCH", stretch)
            for beside in ("tokenizer.json", "old.bin", "LICENSE", "other.gguf"):
                (folder / beside).write_text(beside)
            files = [[*shapes][:2], [*shapes][2:]] if sharded else [[*shapes]]
            index = {}
            for number, names in enumerate(files, 1):
                file = f"model-{number}.safetensors" if sharded else "model.safetensors"
                header, data = {}, b""
                for each in names:
                    raw = packing.as_bytes(waves(*shapes[each]), "F16")
                    header[each] = {"dtype": "F16", "shape": shapes[each], "data_offsets": [len(data), len(data) + len(raw)]}  # fmt: skip
                    data, index[each] = data + raw, file
                text = json.dumps(header).encode()
                (folder / file).write_bytes(len(text).to_bytes(8, "little") + text + data)
            if sharded:
                (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
            for config, layers in (({"model_type": "llama"}, {"a", "b", "head"}), ({"quantization_config": {"quant_method": "gptq"}}, {"a"}), ({"quantization_config": {"bits": 4}}, {"a"}), ({}, {"head"})):  # fmt: skip
                (folder / "config.json").write_text(json.dumps(config))
                patch.setattr(packing, "_linear_layers", lambda _, layers=layers: (layers, {"head"}))
                for bits in (4, 8):
                    yield attempted(lambda bits=bits: packing.pack(folder, out, bits))  # type: ignore[misc]  # noqa: B023
                    for path in sorted(out.iterdir()) if "model_type" in config else ():
                        found = path.read_bytes()
                        yield told((path.name, len(found), hashlib.sha256(found).hexdigest()[:16]))  # fmt: skip
                        if path.suffix == ".safetensors":
                            size = int.from_bytes(found[:8], "little")
                            yield found[8 : 8 + size].decode()


def judgements() -> Iterator[str]:
    """What is kept, what is accepted, and in which order."""
    original = replace(
        trial("fp32", 1.0, 1.0, 1.0), quality={"fidelity": 1.0, "accuracy": 0.9, "loss": 0.4, "bias": -0.2}
    )
    terms = Terms.of(original, {"fidelity": 0.95, "loss": 1.05}, ("loss",), 1.1)
    for quality in (
        {"fidelity": 0.95, "loss": 0.42},
        {"fidelity": 0.949, "loss": 0.4},
        {"fidelity": 0.99, "loss": 0.4201},
        {"fidelity": 0.99},
    ):
        for size, latency in (
            (0.5, 1.0),
            (0.5, 1.1),
            (0.5, 1.11),
            (0.98, 0.98),
            (0.981, 0.981),
            (0.981, 0.98),
            (None, None),
        ):
            one = replace(trial("x", size, latency, 1.0), accepted=False, reason="", quality=quality)
            judged = terms.judged(one, Path("x.onnx"))
            yield told(
                (
                    judged.accepted,
                    judged.reason,
                    judged.path,
                    terms.only_quality_lacks(judged),
                    terms.only_slow(one),
                    terms.only_slow(one, 1.2),
                    one.score,
                )
            )
    yield told(
        [
            terms.share(replace(original, quality={"fidelity": fidelity, "loss": loss}))
            for fidelity, loss in ((0.9, 0.4), (1.0, 0.44), (0.9, 0.5), (1.0, 0.4))
        ]
    )
    yield told(
        [
            Budget({"bias": share}, ()).lacking({"bias": -0.2}, {"bias": now})
            for share, now in ((0.9, -0.2), (0.9, -0.221), (0.9, -0.219))
        ]
    )
    yield attempted(lambda: Terms.of(original, {"none": 1.0, "f1": 0.9}, (), 1.1))
    yield attempted(lambda: finite({"a": 1.0, "b": math.inf}, "the metrics of x"))
    yield line(
        terms.asked_for(
            replace(original, accepted=False, reason=""),
            Path("x"),
            {"sizes": [1.5e6, 2.25e6], "memory": [3e6, 4e6], "memory_whole": 9e6},
        )
    )
    yield terms.judged(replace(original, reason="refused"), Path("x")).reason
    some = [
        trial("a", 0.5, 1.0, 0.99),
        trial("b", 0.5, 1.02, 0.999),
        trial("c", 0.25, 1.05, 0.97),
        trial("d", 0.6, 1.2, 0.999),
        trial("e", 0.3, 0.7, 0.9, accepted=False, reason="it is bad"),
        trial("f", 0.505, 0.98, 0.9),
    ]
    yield told([one.name for one in pareto(some)])
    yield told(
        [
            one.score
            for one in (
                *some,
                trial("g", 0.5, 0.971, 1.0),
                trial("h", 0.5, 0.969, 1.0),
                trial("i", 0.5, 1.03, 1.0),
            )
        ]
    )
    yield told(
        [summary(chosen, some, goes_on=goes_on) for chosen in (some[:1], []) for goes_on in (True, False)]
        + [summary([], [], goes_on=False)]
    )
    yield told([Result(original, tuple(some), chosen, "why").best.name for chosen in ((), (some[2],))])
    yield json.dumps(Result(original, (some[0], replace(some[1], path=Path("b/m.onnx"))), (some[0],), "why").to_json())  # fmt: skip
    for one in (
        trial("x", 0.4, 1.0, 1.0),
        trial("x", 0.9, 1.0, 1.0),
        trial("x", 0.97, 1.3, 1.0),
        trial("x", 0.99, 1.3, 1.0),
        trial("x", None, None, 1.0),
    ):
        yield told([promises(one, tried) for tried in ([], some[:1], some[4:5], some, some[1:4])])
    costs = {
        "losses": {
            "a": {"static": 0.3, "stored8": 0.02},
            "b": {"static": 0.1, "blocks8": 0.05, "stored16": 0.0},
            "c": {"static": 1e-12},
        },
        "weights": {"a": 100, "b": 900, "c": 10},
        "products": {"a": 1000, "b": 900, "c": 50},
    }
    way = choice.way(costs, {"a": "static", "b": "static", "c": "static", "d": "dynamic"})
    yield told((way.changes, way.lost))
    for low, high in ((0, 1), (0, len(way.changes) + 1), (1, 3), (0, 3)):
        yield told([way.between(low, high, share) for share in (1.0, 0.5, 0.1, 0.0)])
    yield told([(recipe.name, recipe.record(), str(recipe.model_in(Path("out"), "m.onnx"))) for recipe in (
        Recipe("int8-static"), Recipe("int8-static", (("a", "float"), ("b", "rows8"))), Recipe("int8-weights", unpacked=True), Recipe("my.module:function", code="c"), Recipe("pruned", share=0.375),
        Recipe("int8-static", base="pruned-50"), Recipe("litert-int8"), Recipe("int8-static", stages=Stages(2, "size")))])  # fmt: skip
    for flags in (("avx2",), ("avx512_vnni",), ("avx_vnni",)):
        with pytest.MonkeyPatch.context() as patch:
            for machine in ("x86_64", "aarch64"):
                patch.setattr("platform.machine", lambda machine=machine: machine)
                yield told(
                    [
                        (recipe.method, recipe.reduce_range)
                        for recipe in recipes_for(
                            ("fp16", "int8-static", "int8-dynamic", "int8-weights"), flags
                        )
                    ]
                )
    yield attempted(lambda: recipes_for(("int9",), ()))
    operators, fits = (
        {"a": "Conv", "b": "MatMul", "c": "Gather", "d": "LSTM"},
        {
            "a": ["static", "stored8"],
            "b": ["static", "dynamic", "blocks8", "stored8"],
            "c": ["rows8"],
            "d": ["stored8"],
        },
    )
    for recipe in (
        *map(Recipe, DEFAULT_METHODS),
        Recipe("int8-weights", unpacked=True),
        Recipe("int8-static", (("a", "float"), ("b", "blocks8"), ("b", "stored16"))),
    ):
        yield told(forms_of(recipe, operators, fits))


def kept_on_disk() -> Iterator[str]:
    """The search's memory, its limits and what it removes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "deep" / "trials.jsonl"
        Journal(path).put("a", {"x": 1})
        path.write_bytes(path.read_bytes() + b'{"key": "c", "fou')
        Journal(path).put("b", {"y": (1, 2)})
        path.write_bytes(path.read_bytes() + b'{"key": 3}\n[]\n')
        found = Journal(path)
        yield told([found.get(key) for key in ("a", "b", "c", "d")])
        yield path.read_text()
        for made in (
            "fp32",
            "onnx",
            "int8-static",
            "int8-static-mixed-3",
            "int8-weights-unpacked",
            "pruned-50",
            "pruned-50-int8-static",
            "int8-static-split-2",
            "mine",
            "int8-statics",
            "litert-int8",
        ):
            (folder / made).mkdir()
        (folder / "int4-weights").write_text("a file")
        remove_stale(folder, "fp32", {"int8-static"})
        yield told(sorted(one.name for one in folder.iterdir()))
    yield told(
        [
            Limits(1, 60, 1).left,
            Limits(1, 60, 1).over(),
            Limits(1, 60, 1, end=1.0).over(),
            Limits(1, 60, 1, end=1e12).left,
        ]
    )
    with tempfile.TemporaryDirectory() as name:
        for _ in range(2):  # what a killed search left goes, all else stays
            with scratch_in(Path(name, "deep", "out")) as scratch:
                yield told([scratch.is_dir(), scratch.parent.name, scratch.name.startswith(".search-")])
            (Path(name, "deep", "out") / ".search-left").mkdir()
            (Path(name, "deep", "out") / "kept").mkdir(exist_ok=True)
            yield told(sorted(path.name for path in Path(name, "deep", "out").iterdir()))
    yield attempted(lambda: write_batches(iter([]), Path()))
    yield attempted(lambda: write_batches(iter([]), Path(), "judged"))


NODES = {"losses": {"a": {"static": 0.3, "stored8": 0.01}, "b": {"static": 0.2, "stored8": 0.02}, "c": {"static": 0.1}}, "able": {"a": ["static", "stored8"], "b": ["static", "stored8"], "c": ["static"]},
         "operators": {"a": "Conv", "b": "Conv", "c": "MatMul"}, "measured": {"a": {"static": 0.3}}, "weights": {"a": 10, "b": 20, "c": 30}, "products": {"a": 100, "b": 100, "c": 100}}  # fmt: skip


def answering(answers: dict[str, Any], asked: list[str]) -> Callable[..., dict[str, Any]]:
    """Attempts by a table: method (and how many changes) -> fidelity, latency and size, or why there is none."""

    def answer(scratch: Path, limits: Limits, **request: Any) -> dict[str, Any]:
        do, recipe = request["do"], request.get("recipe", {})
        key = request.get("numbers") or recipe.get("method") or do
        if recipe.get("unpacked"):
            key += "-unpacked"
        if recipe.get("base"):
            key = f"{recipe['base']}-{key}"
        if recipe.get("ranges") and f"{key}-{recipe['ranges']}" in answers:
            key = f"{key}-{recipe['ranges']}"
        if recipe.get("share"):
            key = f"pruned-{100 * recipe['share']:.1f}"
        if recipe.get("shorter"):
            key = f"{key}-shorter-{recipe['shorter']}"
            answers.setdefault(key, answers.get(key.partition("-shorter")[0]))
        changes = len(recipe.get("fallback", ()))
        said = {**request, "seconds": round(request.get("seconds") or 0, -1), "key": key, "changes": changes}
        said["recipe"] = told([value for value in recipe.values() if value])
        words = told(sorted(said.items())).replace(str(scratch), "SCRATCH").replace(str(scratch.parent.parent), "TMP")  # fmt: skip
        asked.append(words)
        found = answers.get(f"{key}+{changes}" if changes else key, answers.get(key))
        if key in answers.get("over after", ()):
            object.__setattr__(limits, "end", 1e-9)
        if isinstance(found, dict):
            return dict(found)
        if do in ("original", "rank", "hear") or isinstance(found, str):
            alike = {"likeness": {"fidelity": 1.0, "agreement": 1.0}}
            plain = {"original": alike, "hear": alike, "rank": NODES}
            return {"reason": found} if isinstance(found, str) else dict(plain[do])
        if found is None:
            return {"reason": "it is in no table"}
        fidelity, latency, size = found
        out = Path(request["out"])
        if do == "split":
            out.mkdir(parents=True)
            for stage in range(2):
                sized(out / f"stage-{stage + 1}.onnx", size)
            (out / "stages.json").write_text(
                json.dumps({"stages": ["stage-1.onnx", "stage-2.onnx"], "outputs": ["y"]})
            )
            return {
                "fidelity": {"fidelity": fidelity},
                "latency_ratio": latency,
                "seconds": 0.0,
                "sizes": [size] * 2,
                "memory": [size] * 2,
                "memory_whole": size,
            }
        sized(out, size)
        return {
            "fidelity": {"fidelity": fidelity + 0.01 * changes * (changes < 9)},
            "latency_ratio": latency,
            "seconds": 0.0,
        }

    return answer


def sized(path: Path, size: int) -> Path:
    """An ONNX model of about so many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return written(path, [], ("x", ["n"]), ("x", ["n"]), {"w": np.zeros(size // 4, np.float32)})


TEXT: dict[str, Any] = {"signature": {"inputs": [{"name": "request"}]}, "endpoint": "", "command": "", "factory": "", "adapter": "", "threads": 1}  # fmt: skip
SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all good": (
        {
            "int8-dynamic": (0.99, 0.9, 4000),
            "int8-static": (0.98, 0.5, 3000),
            "int8-weights": (0.999, 1.0, 3300),
            "int4-weights": (0.97, 1.05, 2000),
        },
        {},
    ),
    "none passes": (
        {
            "int8-dynamic": (0.5, 0.9, 4000),
            "int8-static": "it broke",
            "int8-weights": (0.999, 3.0, 3300),
            "int8-weights-unpacked": (0.999, 1.5, 3300),
            "int4-weights": (0.97, 1.0, 10000),
        },
        {"keep": {"fidelity": 0.96}},
    ),
    "mixed": (
        {
            "int8-dynamic": (0.999, 1.0, 5000),
            "int8-static": (0.93, 0.5, 3000),
            "int8-weights": "no",
            "int4-weights": "no",
        },
        {"keep": {"fidelity": 0.955}},
    ),
    "mixed too slow": (
        {
            "int8-dynamic": "no",
            "int8-static": (0.9, 0.5, 3000),
            "int8-static+2": (0.9, 2.0, 3000),
            "int8-static+1": (0.9, 0.6, 3000),
            "int8-weights": "no",
            "int4-weights": (0.8, 1.0, 2000),
        },
        {"keep": {"fidelity": 0.99}},
    ),
    "unpacked": (
        {
            "int8-dynamic": "no",
            "int8-static": "no",
            "int8-weights": (0.999, 1.2, 3300),
            "int8-weights-unpacked": (0.999, 1.0, 3300),
            "int4-weights": "no",
        },
        {},
    ),
    "stages": (
        {"int8-static": (0.98, 0.5, 3000), "split": (1.0, 1.4, 1500)},
        {"methods": ("int8-static",), "stages": Stages(2, "size")},
    ),
    "a metric": (
        {"int8-static": (0.98, 0.5, 3000), "int8-dynamic": (0.99, 0.9, 4000)},
        {
            "methods": ("int8-static", "int8-dynamic"),
            "keep": {"accuracy": 0.99, "loss": 1.05},
            "lower_is_better": ("loss",),
        },
    ),
    "pruned": (
        {
            "pruned-50.0": (0.96, 0.6, 6000),
            "pruned-75.0": (0.8, 0.3, 3000),
            "pruned-62.5": (0.955, 0.5, 4500),
            "pruned-62-int8-static": (0.951, 0.3, 1500),
            "int8-static": (0.9, 0.9, 9900),
        },
        {"methods": ("int8-static", "pruned"), "keep": {"fidelity": 0.95}},
    ),
    "pruned and shorter": (
        {
            "pruned-50.0": (0.97, 0.6, 6000),
            "pruned-75.0": (0.96, 0.5, 5000),
            "pruned-87.5": (0.8, 0.3, 3000),
            "pruned-75.0-shorter-1": (0.9, 0.4, 4000),
            "pruned-50.0-shorter-1": (0.96, 0.5, 4500),
            "pruned-50.0-shorter-2": (0.955, 0.4, 4200),
            "pruned-50.0-shorter-3": "it broke",
            "pruned-50-shorter-2-int8-static": (0.951, 0.3, 1500),
        },
        {"methods": ("int8-static", "pruned")},
    ),
    "pruned in vain": (
        {"pruned-50.0": "it has no layers", "int8-static": (0.9, 2.0, 9900)},
        {"methods": ("int8-static", "pruned")},
    ),
    "a student": (
        {
            "student": (0.97, 0.3, 2500),
            "student-int8-static": (0.96, 0.2, 900),
            "int8-static": (0.99, 0.5, 3000),
        },
        {"methods": ("int8-static",), "student": "mine:network", "train": "mine:teach"},
    ),
    "exported": (
        {
            "export": (1.0, 0.8, 9000),
            "int8-static": (0.99, 0.5, 3000),
            "int8": (0.97, 0.9, 2600),
            "float": "it fails",
        },
        {"methods": ("int8-static", "litert", "litert-int8"), "opened": {"signature": None, "threads": 1}},
    ),
    "not exported": (
        {"export": "it cannot be", "float": (1.0, 1.0, 9000)},
        {
            "methods": ("int8-static", "litert"),
            "opened": {"signature": None, "threads": 1},
            "stages": Stages(2, "size"),
        },
    ),
    "no original": ({"original": "it wants two rows."}, {}),
    "asked for text": (
        {
            "int8-weights": (0.999, 1.3, 3300),
            "int4-weights": (0.9, 0.7, 2000),
            "pruned-50.0": (0.9, 0.5, 5000),
            "pruned-25.0": (0.97, 0.8, 7000),
            "pruned-37.5": (0.94, 0.6, 6000),
            "pruned-25-int8-weights": (0.96, 0.7, 3000),
        },
        {"methods": ("int8-weights", "int4-weights", "pruned"), "opened": TEXT, "slowest": 1.2},
    ),
    "asked for text by default": (
        {"int8-weights": (0.999, 1.0, 3300), "int4-weights": "it broke"},
        {"opened": TEXT},
    ),
    "asked for text in vain": ({"hear": "it says nothing"}, {"opened": TEXT}),
    "asked of a server": ({}, {"opened": {**TEXT, "endpoint": "http://x"}}),
    "by ranges": (
        {
            "int8-static": (0.9, 0.5, 3000),
            "int8-static-mse": (0.94, 0.5, 3000),
            "int8-static-percentile": (0.97, 0.5, 3000),
        },
        {"methods": ("int8-static",)},
    ),
    "by another library": (
        {
            "nncf": (0.97, 0.6, 3000),
            "pruned-50.0": (0.96, 0.6, 6000),
            "pruned-75.0": (0.8, 0.3, 3000),
            "pruned-62.5": (0.8, 0.3, 3000),
            "pruned-50-nncf": (0.9, 0.2, 2000),
            "pruned-50-int8-static": (0.96, 0.7, 4000),
            "int8-static": (0.9, 2.0, 3000),
        },
        {
            "methods": ("nncf", "pruned", "int8-static"),
            "keep": {"fidelity": 0.95},
            "context": "c",
            "name": "whole",
            "seed": 7,
            "threads": 2,
        },
    ),
    "in bf16": (
        {
            "export": (1.0, 1.3, 9000),
            "halve": "it cannot be",
            "int8-weights": (0.999, 1.0, 3300),
            "int8-weights-unpacked": (0.999, 1.0, 3300),
        },
        {"methods": ("int8-weights", "bf16"), "opened": {"signature": None, "threads": 1}},
    ),
    "of a format that nothing writes": ({}, {"opened": {"signature": None, "threads": 1}, "exports": False}),
    "a limit that was passed": (
        {"int8-static": {"reason": "it took longer", "transient": True}, "fp16": {"reason": "no"}},
        {"methods": ("int8-static", "fp16")},
    ),
    "over at once": ({}, {"seconds": 1e-9}),
    "over after one": (
        {"int8-dynamic": (0.99, 0.9, 4000), "int8-static": "killed", "over after": ("int8-static",)},
        {},
    ),
    "over while the last answers": (
        {"fp16": (0.99, 0.9, 4000), "over after": ("fp16",)},
        {"methods": ("fp16", "int8-static"), "seconds": 1e6},
    ),
    "over while nodes are ranked": (
        {"int8-static": (0.9, 0.5, 3000), "rank": {"reason": "killed"}, "over after": ("rank",)},
        {"methods": ("int8-static",)},
    ),
    "nothing to rank": (
        {"int8-static": (0.9, 0.5, 3000), "rank": {"reason": "killed"}},
        {"methods": ("int8-static",), "seconds": 1e6},
    ),
    "metrics that are none": (
        {"int8-static": (0.99, 0.5, 3000), "fp16": (0.99, 0.5, 2000)},
        {"methods": ("int8-static", "fp16"), "quality": "broken"},
    ),
    "changed on disk": (
        {"int8-static": (0.98, 0.5, 3000), "fp16": (0.99, 0.9, 5000)},
        {"methods": ("int8-static", "fp16"), "timing": ({"x": waves(3)}, {"x": waves(1)})},
    ),
    "rows and judges alike": (
        {"int8-static": (0.98, 0.5, 3000)},
        {"methods": ("int8-static",), "judging": None},
    ),
    "cut as it is": (
        {"int8-static": "no", "split": (1.0, 1.4, 1500)},
        {"methods": ("int8-static",), "stages": Stages(2, "time"), "memory_limit": None},
    ),
    "cut and unlike": (
        {"int8-static": (0.98, 0.5, 3000), "split": (0.5, 1.4, 1500)},
        {"methods": ("int8-static",), "stages": Stages(3, "time")},
    ),
    "passes": (
        {"mine:network": (0.98, 0.5, 3000), "mine:teach": "ValueError: no"},
        {"methods": (), "passes": ("mine:network", "mine:teach")},
    ),
}


def searches() -> Iterator[str]:
    """What a search tries next, what it accepts and why; again, it does nothing."""
    for name, (answers, more) in SEARCHES.items():
        yield f"== {name}"
        with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
            folder = Path(place)
            asked: list[str] = []
            patch.setattr(search, "attempt", answering(answers, asked))
            patch.setattr(search, "recipes_for", lambda methods, _: recipes_for(methods, ("avx_vnni",)))
            kind = "onnx" if more.get("opened") is TEXT else "pt2"
            if "opened" in more:  # of a format that can be written as ONNX
                patch.setattr(
                    search,
                    "format_of",
                    lambda path, kind=kind: "onnx" if path.parent.name == "onnx" else kind,
                )
                able = more.get("exports", True)
                patch.setattr(subject, "exports", lambda kind, opened, able=able: able)
            (folder / "mine.py").write_text("def network(): ...\ndef teach(): ...\n")
            model = sized(folder / "m.onnx", 10000)

            def quality(path: Path, name: str = name) -> dict[str, float]:
                small = path.stat().st_size < 3500
                if name.startswith("metrics") and small:
                    if path.stat().st_size < 2500:
                        raise InvalidInput("The metrics want rows.")
                    return {"accuracy": math.nan}
                return {"accuracy": 0.9 - small * 0.002, "loss": 0.4 + small * 0.03}

            given = {key: value for key, value in more.items() if key != "exports"}
            given |= {"quality": quality} if name == "a metric" or "quality" in more else {}
            usual = {"judging": lambda: iter([{"x": waves(4)}]), "memory_limit": 10**9}
            for again in range(3 if name == "changed on disk" else 2):
                said: list[str] = []
                if again == 2:
                    (folder / "out" / "fp16" / "m.onnx").write_bytes(b"else")
                try:
                    found = search.compress(
                        model, folder / "out", calibration=lambda: iter([{"x": waves(3)}, {"x": waves(2)}]), progress=lambda *now, said=said: said.append(told(now)), root=folder, **{**usual, **given},
                    )  # fmt: skip
                except Exception as error:
                    yield str(error).replace(place, "TMP")
                    break
                yield from (
                    *(words.replace(place, "TMP") for words in asked),
                    told(said),
                    found.reason,
                    told([one.name for one in found.chosen]),
                    told(found.sensitivities),
                )
                yield from (told([one.name, one.accepted, one.reason, one.reused, one.size_ratio, one.latency_ratio, one.score, sorted(one.quality.items())]) for one in found.trials if not again)  # fmt: skip
                yield told([one.reused for one in found.trials])
                asked.clear()
            yield told(
                sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            )


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    made.__name__: made
    for made in (
        forms,
        roundings,
        likenesses,
        carried_out,
        node_by_node,
        cuts,
        streams,
        graphs,
        subjects,
        cut_off,
        dense_layers,
        packed,
        attempts,
        judgements,
        kept_on_disk,
        searches,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_form_of_a_model_and_no_step_of_a_search_changes_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
