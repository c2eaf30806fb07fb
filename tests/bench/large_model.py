"""A model of 4 GB stored in int8 in how much memory? ``python tests/bench/large_model.py [GIGABYTES]``

Makes a model of matrices of 256 MB each, stores it weight by weight in a process of its own, and prints that process's peak memory.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gradatim.compression.streaming import stream
from gradatim.models import open_model

WIDTH = 8192


def write_large(path: Path, gigabytes: float) -> None:
    """Square matrices with a Tanh between, written one after the other."""
    import onnx
    from onnx import StringStringEntryProto, TensorProto, helper

    count = max(1, round(gigabytes * 1e9 / (4 * WIDTH * WIDTH)))
    nodes, constants = [], []
    draw = np.random.default_rng(0)
    with Path(f"{path}.data").open("wb") as file:
        for number in range(count):
            begins = file.tell()
            for _ in range(8):
                rows = draw.standard_normal((WIDTH // 8, WIDTH), np.float32) * np.float32(WIDTH**-0.5)
                file.write(rows.data)
            told = {"location": f"{path.name}.data", "offset": str(begins), "length": str(4 * WIDTH * WIDTH)}
            constants.append(
                TensorProto(
                    name=f"w{number}",
                    data_type=TensorProto.FLOAT,
                    dims=(WIDTH, WIDTH),
                    data_location=TensorProto.EXTERNAL,
                    external_data=[
                        StringStringEntryProto(key=key, value=value) for key, value in told.items()
                    ],
                )
            )
            given = f"h{number - 1}" if number else "x"
            nodes.append(helper.make_node("MatMul", [given, f"w{number}"], [f"p{number}"]))
            out = f"h{number}" if number + 1 < count else "y"
            nodes.append(helper.make_node("Tanh", [f"p{number}"], [out]))
    whole = helper.make_graph(
        nodes, "large", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])], constants,
    )  # fmt: skip
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path), full_check=False)


def work(model: Path, out: Path) -> None:
    started = time.monotonic()
    stream(model, out, 8)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    size = sum(path.stat().st_size for path in out.parent.glob(f"{out.name}*")) / 1e9
    print(f"int8: {size:.2f} GB in {time.monotonic() - started:.0f} s, peak memory {peak:.2f} GB", flush=True)


def main(gigabytes: float = 4.0) -> None:
    with tempfile.TemporaryDirectory() as name:
        model, out = Path(name) / "large.onnx", Path(name) / "int8" / "large.onnx"
        write_large(model, gigabytes)
        print(f"model: {Path(f'{model}.data').stat().st_size / 1e9:.2f} GB", flush=True)
        process = multiprocessing.get_context("spawn").Process(target=work, args=(model, out))
        process.start()
        process.join()
        rows = np.random.default_rng(1).standard_normal((4, WIDTH), np.float32)
        answers = []
        for path in (model, out):
            with open_model(path, root=path.parent) as predictor:
                answers.append(predictor({"x": rows})["y"])
        one, other = answers
        share = 1 - ((one - other) ** 2).sum() / ((one - one.mean()) ** 2).sum()
        print(f"fidelity {share:.5f} of four rows")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
