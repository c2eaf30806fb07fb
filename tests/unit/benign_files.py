"""Ordinary model files, made by the libraries that everyone uses, which must all be let in."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def programs(folder: Path) -> Iterator[Path]:
    """Exports with free sizes, branches, loops, states and sizes that depend on data."""
    import torch
    from torch import nn
    from torch.export import Dim

    class Sizes(nn.Module):
        def forward(self, x, y):  # type: ignore[no-untyped-def]
            n = x.shape[0]
            parts = (
                torch.zeros(int(n * 1.5)),
                torch.zeros(-(-n // 2)),
                torch.zeros(n**2),
                torch.zeros(max(n, x.shape[1])),
            )
            return {
                "x y": torch.cat([x, y]),
                "deep": OrderedDict(a=x.reshape(-1, x.shape[1] // 2), b=[*parts]),
            }

    class Data(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            n = x.max().item()
            torch._check(n >= 2)
            torch._check(n < 100)
            return torch.ones(n), torch.zeros(n // 2), x.nonzero()

    class Branches(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            from torch._higher_order_ops.while_loop import while_loop

            y = torch.cond(x.shape[0] > 4, lambda t: t.sin(), lambda t: t.cos(), (x,))
            return y, while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t * 2), (torch.tensor(0), x))

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(3))
            self.register_buffer("scale", torch.ones(3), persistent=False)
            self.by_name = nn.ModuleDict({"a-b": nn.Linear(3, 3), "c d": nn.Linear(3, 3)})

        def forward(self, x, *, opts):  # type: ignore[no-untyped-def]
            self.seen.add_(1)
            with torch.no_grad():
                y = self.by_name["a-b"](x) + self.by_name["c d"](x)
            return y * self.scale + self.seen + torch.tensor([1.0, 2.0, 3.0]) + opts["more"]["b"][0]

    class Plain(nn.Module):
        def forward(self, x, k: float, n: int, f: bool, t: str):  # type: ignore[no-untyped-def]
            return x * k * n if t == "add" else x

    image = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.GELU(approximate="tanh"),
        nn.Upsample(scale_factor=1.5, mode="bilinear"),
    )
    auto = Dim.AUTO
    cases: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = {
        "named": (nn.Linear(4, 3), (torch.zeros(2, 4),), {}, ({0: Dim("b", min=1, max=64)},)),
        "times": (nn.Linear(4, 3), (torch.zeros(8, 4),), {}, ({0: 4 * Dim("q", min=1, max=50)},)),
        "image": (image, (torch.zeros(2, 3, 32, 32),), {}, ({0: auto, 2: auto, 3: auto},)),
        "sizes": (Sizes(), (torch.ones(6, 4), torch.ones(3, 4)), {}, ({0: auto, 1: auto}, {0: auto})),
        "data": (Data(), (torch.tensor([4, 5]),), {}, ({0: auto},)),
        "branches": (Branches(), (torch.ones(6, 2),), {}, ({0: auto},)),
        "kept": (Kept(), (torch.ones(4, 3),), {"opts": {"more": {"b": [torch.ones(3)]}}}, None),
        "plain": (Plain(), (torch.ones(4, 3), 2.0, 3, True, "add"), {}, None),
        "recurrent": (nn.LSTM(4, 8, batch_first=True), (torch.ones(2, 5, 4),), {}, {"input": {0: auto, 1: auto}}),
        "attention": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.ones(2, 5, 8),), {}, {"src": {0: auto, 1: auto}}),
    }  # fmt: skip
    for name, (module, args, kwargs, sizes) in cases.items():
        program = torch.export.export(module.eval(), args, kwargs, dynamic_shapes=sizes)
        torch.export.save(program, folder / f"{name}.pt2", extra_files={"labels.txt": "cat\ndog"})
        yield folder / f"{name}.pt2"
    decomposed = program.run_decompositions()
    torch.export.save(decomposed, folder / "decomposed.pt2")
    yield folder / "decomposed.pt2"
    with (
        zipfile.ZipFile(folder / "image.pt2") as plain,
        zipfile.ZipFile(folder / "packed.pt2", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    yield folder / "packed.pt2"


def scripts(folder: Path) -> Iterator[Path]:
    """TorchScript: scripted, traced, frozen, quantised, with words and with a state of its own."""
    import torch
    from torch import nn

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 8)
            self.save: list[int] = [1, 2]
            self.ops = {"a": 1}
            self.classes: list[str] = ["it's", 'a "b"', "#c", "torch.from_file("]

        def forward(self, x, y: str = "a"):  # type: ignore[no-untyped-def]
            z = self.lstm(x)[0]
            if not y.startswith("a"):
                z = torch.nn.functional.pad(z, [0, 0, 1, 1])
            out = torch.jit.annotate(list[torch.Tensor], [])
            for i in range(3):
                out.append(z * i)
            assert x.shape[0] > 0, f'bad "x" # of {x.shape}'
            return torch.stack(out), self.classes[0]

    class Static(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.dequant(self.conv(self.quant(x)))

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    static = Static().eval()
    static.qconfig = torch.ao.quantization.get_default_qconfig()
    torch.ao.quantization.prepare(static, inplace=True)
    static(torch.randn(1, 3, 8, 8))
    torch.ao.quantization.convert(static, inplace=True)
    dense = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    made = {
        "words": torch.jit.script(Words()),
        "traced": torch.jit.trace(net, torch.ones(1, 3, 8, 8)),
        "frozen": torch.jit.freeze(torch.jit.script(net)),
        "static": torch.jit.script(static),
        "dynamic": torch.jit.script(
            torch.ao.quantization.quantize_dynamic(dense, {nn.Linear}, dtype=torch.qint8)
        ),
    }
    for name, script in made.items():
        torch.jit.save(script, folder / f"{name}.pt", _extra_files={"labels.json": '["cat", "dog"]'})
        yield folder / f"{name}.pt"


def weights(folder: Path) -> Iterator[Path]:
    """safetensors and ONNX, with external data and with a loop that has no end."""
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import save_file
    from safetensors.torch import save_file as save_torch

    save_file(
        {
            "a": np.ones((2, 3), np.float32),
            "b": np.arange(4),
            "none": np.zeros((0, 3)),
            "one": np.array(1.0, np.float16),
        },
        folder / "numpy.safetensors",
    )
    save_torch(
        {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.ones(3, dtype=torch.float8_e4m3fn)},
        folder / "torch.safetensors",
        {"format": "pt"},
    )
    yield folder / "numpy.safetensors"
    yield folder / "torch.safetensors"

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])
    kept = numpy_helper.from_array(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32), "w")
    dense = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [kept])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(dense, opset_imports=opsets, ir_version=8), folder / "dense.onnx")
    onnx.save(
        helper.make_model(dense, opset_imports=opsets, ir_version=8), folder / "outside.onnx", save_as_external_data=True,
        location="outside.onnx.data", size_threshold=0,
    )  # fmt: skip
    yield folder / "dense.onnx"
    yield folder / "outside.onnx"
    ports = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("going", TensorProto.BOOL, []),
        helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
    ]
    gives = [
        helper.make_tensor_value_info("still", TensorProto.BOOL, []),
        helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
    ]
    steps = [
        helper.make_node("Identity", ["going"], ["still"]),
        helper.make_node("Relu", ["carried"], ["next"]),
    ]
    for_ever = helper.make_node(
        "Loop", ["", "yes", "x"], ["y"], body=helper.make_graph(steps, "b", ports, gives)
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    onnx.save(
        helper.make_model(
            helper.make_graph([for_ever], "g", [x], [y], [yes]), opset_imports=opsets, ir_version=8
        ),
        folder / "loop.onnx",
    )
    yield folder / "loop.onnx"


def companions(folder: Path) -> Iterator[Path]:
    """What lies beside weights: arrays of every ordinary dtype, tokenizers, words, pictures."""
    dtypes = [
        "?",
        "i1",
        "<i2",
        "<i4",
        "<i8",
        "u1",
        "<u2",
        ">u4",
        "<u8",
        "<f2",
        "<f4",
        ">f8",
        "<c8",
        "<c16",
        "<M8[ns]",
        "<m8[D]",
        "<U5",
        "S3",
        "V4",
    ]
    every = {f"a{number}": np.zeros((2, 3), dtype) for number, dtype in enumerate(dtypes)}
    every["fields"] = np.zeros(2, [("a", "<f4"), ("b", "<i4", (2,)), ("c", [("d", "S2")])])
    every["fortran"] = np.asfortranarray(np.ones((3, 2)))
    every["scalar"], every["none"] = np.array(1.0), np.zeros((0, 4))
    np.savez(folder / "every.npz", **every)
    np.savez_compressed(folder / "packed.npz", **every, zeros=np.zeros((1000, 1000)))
    np.save(folder / "one.npy", np.random.default_rng(0).normal(size=(100, 100)))
    np.savez(folder / "nothing.npz")
    yield from (folder / name for name in ("every.npz", "packed.npz", "one.npy", "nothing.npz"))
    words = {f"word {number}": number for number in range(20_000)}
    tokenizer = {"version": "1.0", "model": {"type": "BPE", "vocab": words, "merges": ["i n", "c o", "( a"]}}
    texts = {
        "tokenizer.json": json.dumps(tokenizer), "config.json": '{"architectures": ["BertModel"]}', "vocab.txt": "[PAD]\n[CLS]\n##ing\ncat\n日本\n",
        "labels.txt": "cat\ndog\nRabbit\n", "merges.txt": "#version: 0.2\ni n\nt h\n", "README.md": "---\nlicense: mit\n---\n# Hello, wörld\r\n",
        "LICENSE": "Copyright (c) 2026 the authors\n", "chat.jinja": "{% for m in messages %}{{ m.content }}{% endfor %}", "empty.txt": "",
        "import.py": "import os\nos.system\n", "capital.txt": "Values\nSome\n(c)\nPlease read.\n", "special.json": '{"bos": "<s>", "pad": "\\u0000"}',
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
        yield folder / name
    (folder / "words.txt.gz").write_bytes(gzip.compress(b"hello\nworld\n" * 1000))
    piece = b"".join(
        b"\x0a" + bytes([len(word) + 7]) + b"\x0a" + bytes([len(word)]) + word + b"\x15" + bytes(4)
        for word in (b"<unk>", b"in", b"th")
    )
    (folder / "tokenizer.model").write_bytes(piece)
    png = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (4, 4), "red").save(png, "PNG")
    (folder / "picture.png").write_bytes(png.getvalue())
    with zipfile.ZipFile(folder / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.write(folder / "every.npz", "inner/every.npz")
        bundle.write(folder / "README.md", "README.md")
    yield from (folder / name for name in ("words.txt.gz", "tokenizer.model", "picture.png", "bundle.zip"))
