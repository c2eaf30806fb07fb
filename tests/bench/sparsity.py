"""What do zeros and low rank save? ``python tests/bench/sparsity.py``

A dense net (64, 256, 256, 10) is trained on scikit-learn's digits and written as ONNX. Its weights are thinned: half of them, the
smallest, or two of every four along what is summed (2:4); or each matrix becomes the product of two, at a quarter and at an eighth of its
rank. Nothing learns anew afterwards. Prints for each the bytes of the file, of the file under gzip, the latency for one row and for
64 as a part of the dense net's, and the rows that are right of 500 that the training did not see. Beside them: int8, the search's.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from gradatim.compression import graph
from gradatim.compression.batches import write_batches
from gradatim.compression.calibration import Calibrated
from gradatim.compression.quantise import quantise
from gradatim.compression.recipe import Recipe
from gradatim.models import open_model
from gradatim.timing.blocks import interleaved, lower_quartile

Floats = NDArray[np.float32]


def as_it_is(weight: Floats) -> list[Floats]:
    return [weight]


def half_of_all(weight: Floats) -> list[Floats]:
    return [np.where(np.abs(weight) >= np.median(np.abs(weight)), weight, 0)]


def two_of_four(weight: Floats) -> list[Floats]:
    fours = weight.reshape(-1, 4, weight.shape[1])
    larger = np.argsort(np.argsort(-np.abs(fours), axis=1), axis=1) < 2
    return [np.where(larger, fours, 0).reshape(weight.shape)]


def of_rank(share: float) -> Callable[[Floats], list[Floats]]:
    """Two factors, where they hold fewer numbers than the whole."""

    def factors(weight: Floats) -> list[Floats]:
        left, sizes, right = np.linalg.svd(weight, full_matrices=False)
        rank = max(1, int(share * len(sizes)))
        if rank * sum(weight.shape) >= weight.size:
            return [weight]
        return [left[:, :rank] * sizes[:rank], right[:rank]]

    return factors


def write(path: Path, layers: Sequence[tuple[list[Floats], Floats]]) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, last = [], [], "x"
    for place, (factors, bias) in enumerate(layers):
        for part, weight in enumerate(factors):
            constants.append(numpy_helper.from_array(np.float32(weight), f"w{place}.{part}"))
            out = f"m{place}.{part}"
            nodes.append(helper.make_node("MatMul", [last, f"w{place}.{part}"], [out], name=out))
            last = out
        constants.append(numpy_helper.from_array(np.float32(bias), f"b{place}"))
        nodes.append(helper.make_node("Add", [last, f"b{place}"], [f"a{place}"]))
        last = f"a{place}"
        if place < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [last], [f"r{place}"]))
            last = f"r{place}"
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])
    found = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 10])
    made = helper.make_graph(nodes, "dense", [given], [found], constants)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def row(dense: Path, path: Path, rows: Floats, labels: NDArray[Any]) -> str:
    with open_model(dense, root=dense.parent) as before, open_model(path, root=path.parent) as after:
        right = int((next(iter(after({"x": rows}).values())).argmax(axis=1) == labels).sum())
        ratios = []
        for few in ({"x": rows[:1]}, {"x": rows[:64]}):
            minima = interleaved({"before": lambda b=few: before(b), "after": lambda b=few: after(b)}, 0)
            ratios.append(lower_quartile(minima["after"]) / lower_quartile(minima["before"]))
    stored = path.read_bytes()
    return f"{len(stored):10}{len(gzip.compress(stored, 9)):10}{ratios[0]:8.2f}{ratios[1]:8.2f}{right:8}"


def main() -> None:
    found = load_digits()
    images = (found.data / 16).astype(np.float32)
    train, test, labels, truth = train_test_split(images, found.target, test_size=500, random_state=0)
    net = MLPClassifier((256, 256), max_iter=60, random_state=0).fit(train, labels)
    layers = list(zip(net.coefs_, net.intercepts_, strict=True))
    ways = {
        "dense": as_it_is, "half of all zero": half_of_all, "two of four zero": two_of_four,
        "a quarter of the rank": of_rank(1 / 4), "an eighth of the rank": of_rank(1 / 8),
    }  # fmt: skip
    print(f"{'':24}{'bytes':>10}{'gzipped':>10}{'1 row':>8}{'64 rows':>8}{'of 500':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dense = folder / "dense.onnx"
        for way, thinned in ways.items():
            path = write(folder / f"{way.replace(' ', '-')}.onnx", [(thinned(w), b) for w, b in layers])
            print(f"{way:24}{row(dense, path, test, truth)}", flush=True)
        paths, _ = write_batches(iter([{"x": train[:256]}]), folder)
        calibrated = Calibrated(graph.prepare(dense), paths, folder / "seen.npz")
        for method in ("int8-static", "int8-dynamic"):
            path = folder / f"{method}.onnx"
            graph.save(quantise(Recipe(method), calibrated), path)
            print(f"{method:24}{row(dense, path, test, truth)}", flush=True)


if __name__ == "__main__":
    main()
