"""A sharded directory of 5 GB through inspect, tag and verify: in how much memory?

    python -m pytest tests/bench/test_large_language_model.py -s

The weights are holes in four files, read like any others, and answer behind a server on this machine. Where this was written, in MB:
inspect 75, tag 76, publish 76, verify 76.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import small_speaker
from language_server import serving
from registry_examples import IDENTITY, git, new_repository
from test_large_model import costs

pytestmark = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not here")
SPEAKER = """
import sys
from pathlib import Path
from small_speaker import write_speaker
write_speaker(Path(sys.argv[1]), steps=0)
"""
"""Run apart: a process begins with the most memory that its parent has, as Linux counts, and torch takes much."""
SHARDS, ROWS, WIDE = 4, 160, 1 << 22
"""Each shard holds so many rows of so many numbers in half precision: 1.34 GB with a layer each."""
MOST_MEGABYTES = 300
CONTRACT = """\
model: {{name: large, path: weights, endpoint: {{url: "{url}", model: small}}}}
data: {{evaluation: test.jsonl}}
task: {{type: generation, scorers: [exact_match], generation: {{max_new_tokens: 4}}}}
test: {{abnormal: skip}}
benchmark: {{rounds: 3}}
gates: {{exact_match: {{at_least: 60%}}}}
stages: {{production: {{branch: main}}}}
publish: [{{folder: ../releases}}]
"""


def write_shards(folder: Path) -> int:
    """Put tensors of nothing into the place of a model's weights; gives their bytes."""
    (folder / "model.safetensors").unlink()
    placed, size = {}, ROWS * WIDE * 2
    for layer in range(SHARDS):
        file, name = (
            f"model-{layer + 1:05}-of-{SHARDS:05}.safetensors",
            f"model.layers.{layer}.mlp.up_proj.weight",
        )
        header = json.dumps(
            {name: {"dtype": "F16", "shape": [ROWS, WIDE], "data_offsets": [0, size]}}
        ).encode()
        with (folder / file).open("wb") as out:
            out.write(struct.pack("<Q", len(header)) + header)
            out.truncate(8 + len(header) + size)
        placed[name] = file
    index = {"metadata": {"total_size": SHARDS * size}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": SHARDS}))
    return SHARDS * size


@pytest.mark.timeout(3600)
def test_a_sharded_directory_of_5_gb_is_inspected_tagged_and_verified_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    root = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    unit = str(Path(small_speaker.__file__).parent)
    subprocess.run(
        [sys.executable, "-c", SPEAKER, root / "weights"],
        check=True,
        env={**os.environ, "PYTHONPATH": unit},
        capture_output=True,
    )
    size = write_shards(root / "weights")
    rows = ({"prompt": f"{row}?", "label": "yes"} for row in range(40))
    (root / "test.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (root / ".gitignore").write_text("weights/\n.gradatim/\n")
    told = [f"{size / 1e9:.2f} GB in {SHARDS} shards"]
    with serving(lambda body: "yes") as asked:
        (root / "gradatim.yml").write_text(CONTRACT.format(url=asked.url))
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "A candidate")
        git(root, "push", "-q", "origin", "HEAD")
        for verb in ("inspect", "tag", "publish", "verify v1.0.0"):
            if verb == "tag":
                costs(root, "run", "--until", "gate")  # asks the model, too
            seconds, most = costs(root, *verb.split())
            told.append(f"{verb}: {seconds:.1f} s of the processor, {most:.0f} MB")
            print(told[-1], flush=True)
            assert most < MOST_MEGABYTES, told
    assert (tmp_path / "releases/v1.0.0/model-00001-of-00004.safetensors").stat().st_size > size / SHARDS
    print("\n" + "\n".join(told))
