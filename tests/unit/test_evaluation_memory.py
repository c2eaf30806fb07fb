"""Evaluating more rows takes hardly more memory: neither predicting them nor measuring what was predicted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.measure import weak_slices
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads a process's peak memory from /proc"
)

EVALUATE = """
import re, sys
from pathlib import Path
from gradatim.data import open_data
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.measure import measurements, weak_slices
from gradatim.metrics.task import Task
from gradatim.models import open_model
from gradatim.models.predict import predict

root = Path(sys.argv[1])
task = Task("classification", labels=tuple(range(10)))
with open_model(root / "linear.onnx", root=root) as predictor:
    dataset = open_data(sys.argv[2], root=root, signature=predictor.signature, slices=["region"])
    predictions = predict(predictor, dataset, task, root / "predictions", batch=256)
evaluation = Evaluation(task, predictions)
found = measurements(evaluation, "fp32")
weak_slices(evaluation)
print(len(predictions), len(found), re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def write_linear(path: Path, features: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(features, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)


def test_ten_times_the_rows_take_hardly_more_memory(tmp_path: Path) -> None:
    write_linear(tmp_path / "linear.onnx", 64)
    draw = np.random.default_rng(1)
    peaks = []
    for rows in (10_000, 100_000):
        x = draw.normal(size=(rows, 64)).astype(np.float32)  # 26 MB for the larger, and 4 MB of scores
        region = draw.choice(["north", "east", "south"], rows)
        np.savez(tmp_path / f"{rows}.npz", x=x, label=draw.integers(10, size=rows), region=region)
        script = [sys.executable, "-c", EVALUATE, str(tmp_path), f"{rows}.npz"]
        ran = subprocess.run(script, check=True, capture_output=True, text=True)
        counted, measured, kilobytes = map(int, ran.stdout.split())
        assert counted == rows
        assert measured > 50
        peaks.append(kilobytes)
    assert peaks[1] - peaks[0] < 12_000


def test_looking_for_weak_slices_does_not_keep_a_mask_for_each() -> None:
    import tracemalloc

    pytest.importorskip("scipy.special")  # before its own memory would be counted

    rows, draw = 50_000, np.random.default_rng(2)
    labels = draw.integers(10, size=rows)
    scores = draw.normal(size=(rows, 10)).astype(np.float32)
    slices = {name: draw.integers(60, size=rows) for name in ("hospital", "hour")}
    scores[np.arange(rows), labels] += np.where(slices["hour"] == 7, 0, 3)
    evaluation = Evaluation(
        Task("classification", labels=tuple(range(10))), Predictions.of({"logits": scores}, labels, slices)
    )
    tracemalloc.start()
    weak = weak_slices(evaluation)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert weak[0].where == "hour=7"
    assert peak < 40 * rows  # some thousand pairs of slices were looked at


PERPLEXITY = """
import re, sys
from pathlib import Path
from gradatim.data import open_data
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.task import Task
from gradatim.models import open_model
from gradatim.models.predict import predict

root = Path(sys.argv[1])
task = Task("language_modelling")
with open_model(root / "model", root=root) as predictor:
    dataset = open_data(sys.argv[2], root=root, signature=predictor.signature, label=None)
    predictions = predict(predictor, dataset, task, root / sys.argv[2].replace(".", "-"), batch=32)
found = Evaluation(task, predictions).samples("perplexity").value
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(round(found), int(sum(predictions.outputs["tokens"].values)), peak)
"""


def write_speaker_of(words: int, folder: Path, **tokens: int) -> None:
    """A Llama of a layer that knows so many words, and files of documents of 126 of them, each of so many tokens in all."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=words, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "model")
    draw = np.random.default_rng(0)
    for name, count in tokens.items():
        rows = (json.dumps({"input_ids": draw.integers(0, words, 126).tolist()}) for _ in range(count // 125))
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")


def perplexity_in(folder: Path, name: str) -> list[int]:
    """The perplexity, tokens that were scored, and kilobytes at the peak, of a process of its own."""
    script = [sys.executable, "-c", PERPLEXITY, str(folder), f"{name}.jsonl"]
    return [
        int(word)
        for word in subprocess.run(script, check=True, capture_output=True, text=True).stdout.split()
    ]


@pytest.mark.slow
def test_perplexity_over_a_hundred_thousand_tokens_takes_hardly_more_memory_than_over_ten(
    tmp_path: Path,
) -> None:
    write_speaker_of(256, tmp_path, few=10_000, many=100_000)
    (_, few, before), (found, many, after) = (perplexity_in(tmp_path, name) for name in ("few", "many"))
    assert (few, many) == (10_000, 100_000)
    assert 200 < found < 320  # it knows nothing: as many as there are words
    assert after - before < 12_000


@pytest.mark.slow
def test_a_batch_that_a_large_vocabulary_answers_in_a_gigabyte_is_asked_in_parts(tmp_path: Path) -> None:
    write_speaker_of(1 << 16, tmp_path, few=4_000)
    assert perplexity_in(tmp_path, "few")[2] < 1_000_000  # a batch at once took 1.66 GB
