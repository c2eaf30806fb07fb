"""Ten models of ten kinds that nobody tuned for: what `gradatim init` writes is right without an edit, or one question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from projects.graphs import node, write_graph
from projects.repository import Project

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.pipeline.step import run_step

FEW_ROUNDS = "\nbenchmark: {rounds: 3}\n"
"""All that is added to what `init` writes: timing alone takes longer than the rest."""

Array = NDArray[Any]


def _draw() -> np.random.Generator:
    return np.random.default_rng(7)


def _linear(rows: Array, labels: Array) -> tuple[Array, Array]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=200).fit(rows, labels)
    return fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)


def images(project: Project) -> None:
    """Pictures in class folders for a model of free sizes; the names are those of the folders."""
    image = pytest.importorskip("PIL.Image")
    write_graph(
        project.path("export/colours.onnx"),
        [("image", "uint8", ["batch", "height", "width", 3])],
        [("output", "float32", ["batch", 3])],
        [
            node("Cast", ["image"], ["p"], to=1),
            node("ReduceMean", ["p"], ["output"], axes=[1, 2], keepdims=0),
        ],
        {},
    )
    # scores stand for red, green, blue: not in the order of the alphabet, so a list says so
    project.write("export/classes.txt", "red\ngreen\nblue\n")
    for part, count in (("test", 90), ("calibration", 12)):
        for index in range(count):
            pixels = _draw().integers(0, 120, (8, 8, 3), np.uint8)
            pixels[..., index % 3] += 100
            name = ["red", "green", "blue"][index % 3]
            image.fromarray(pixels).save(project.path(f"pictures/{part}/{name}/{index:02}.png"))


def sounds(project: Project) -> None:
    """Frames of sound [b, 512] and 48 pitches as TorchScript, which says nothing of dtypes, sizes or names."""
    torch = pytest.importorskip("torch")
    time = np.arange(512) / 8000

    def frames(pitches: Array) -> Array:
        tones = np.sin(2 * np.pi * 110 * 2 ** (pitches[:, None] / 12) * time)
        return (tones + _draw().normal(0, 0.1, tones.shape)).astype(np.float32)

    bank = np.concatenate(
        [f(2 * np.pi * 110 * 2 ** (np.arange(48)[:, None] / 12) * time) for f in (np.sin, np.cos)]
    )

    class Pitch(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.bank = torch.nn.Parameter(torch.tensor(bank.T, dtype=torch.float32))

        def forward(self, sound: Any) -> Any:
            heard = sound @ self.bank
            return torch.sigmoid((heard[:, :48] ** 2 + heard[:, 48:] ** 2) / 20000 - 1)

    pitches = _draw().integers(0, 48, 260)
    np.savez(project.path("data/heldout.npz"), frames=frames(pitches), pitch_class=pitches)
    traced = torch.jit.trace(Pitch(), torch.zeros(2, 512))
    torch.jit.save(traced, str(project.path("pitch.pt")))


def text(project: Project) -> None:
    """Sentences to a function that is the model itself, without a word on what it takes."""
    project.write(
        "complaints.py",
        """
import numpy as np

WORDS = ("refund", "broken", "late")


def predict(inputs):
    hits = np.array([sum(word in text for word in WORDS) for text in inputs["text"]], np.float32)
    return {"complaint": 1 / (1 + np.exp(4 - 8 * hits))}
""",
    )
    kinds = [
        ("my parcel is late again, order {}", 1),
        ("thank you, all is well with {}", 0),
        ("{} came broken", 1),
    ]
    rows = [
        (line.format(number), label, ["web", "phone"][number % 2])
        for number in range(60)
        for line, label in kinds
    ]
    lines = "".join(f'"{line}",{channel},{label}\n' for line, label, channel in rows)
    project.write("data/test.csv", "text,channel,label\n" + lines)


def tables(project: Project) -> None:
    """A table with a number to come near, a clinic to slice by and patients that come several times."""
    convert = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    found = load_diabetes()
    fitted = Ridge(alpha=1).fit(found.data[:200], found.target[:200])
    made = convert.convert_sklearn(fitted, initial_types=[("features", FloatTensorType([None, 10]))])
    project.path("model.onnx").write_bytes(made.SerializeToString())
    lines = [",".join(["patient_id", *found.feature_names, "clinic", "progression"])]
    for number, (row, target) in enumerate(zip(found.data[200:], found.target[200:], strict=True)):
        lines.append(
            ",".join([str(number // 2), *map(str, row), ["north", "south"][number % 2], str(target)])
        )
    project.write("data/eval.csv", "\n".join(lines) + "\n")
    rows = [
        ",".join([str(number), *map(str, row), "north", "0"]) for number, row in enumerate(found.data[:40])
    ]
    project.write("data/train.csv", "\n".join([lines[0], *rows]) + "\n")


def contents(project: Project) -> None:
    """The first bytes of files as int32 to one of 120 kinds, most of which the data hold once or never."""
    draw = _draw()
    names = [f"kind-{place}" for place in range(120)]
    project.write("labels.txt", "\n".join(names) + "\n")
    table = np.eye(120)[draw.permutation(257) % 120] * 4

    def files(count: int) -> tuple[Array, Array]:
        rows = draw.integers(0, 257, (count, 192)).astype(np.int32)
        return rows, table[rows[:, :4]].sum(axis=1).argmax(axis=1)

    write_graph(
        project.path("content.onnx"),
        [("bytes", "int32", ["unk__1", 192])],
        [("target_label", "float32", ["unk__2", 120])],
        [
            node("Slice", ["bytes", "zero", "four", "one"], ["head"]),
            node("Gather", ["table", "head"], ["votes"]),
            node("ReduceSum", ["votes", "one"], ["sum"], keepdims=0),
            node("Softmax", ["sum"], ["target_label"], axis=-1),
        ],
        {"table": table, "zero": np.array([0]), "four": np.array([4]), "one": np.array([1])},
    )
    rows, labels = files(150)
    np.savez(project.path("evaluation.npz"), bytes=rows, label=labels)
    np.savez(project.path("calibration.npz"), bytes=files(40)[0])


def several(project: Project) -> None:
    """Features, logits and probabilities of scikit-learn's digits: three outputs, one of which is the answer."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = (found.data / 16).astype(np.float32)
    weight, bias = _linear(rows[:900], found.target[:900])
    write_graph(
        project.path("models/digits.onnx"),
        [("pixels", "float32", ["batch", 64])],
        [
            ("features", "float32", ["batch", 64]),
            ("logits", "float32", ["batch", 10]),
            ("probs", "float32", ["batch", 10]),
        ],
        [
            node("Mul", ["pixels", "two"], ["features"]),
            node("Gemm", ["pixels", "w", "b"], ["logits"]),
            node("Softmax", ["logits"], ["probs"], axis=-1),
        ],
        {"w": weight, "b": bias, "two": np.array([2.0])},
    )
    np.savez(project.path("data/test.npz"), pixels=rows[900:1300], label=found.target[900:1300])
    np.savez(project.path("data/calib.npz"), pixels=rows[:60])


def stateful(project: Project) -> None:
    """A detector that hands its state on from window to window, with a sampling rate to be told."""
    write_graph(
        project.path("vad.onnx"),
        [("input", "float32", ["b", 64]), ("state", "float32", [1, "b", 1]), ("sr", "int64", [])],
        [("output", "float32", ["b", 1]), ("stateN", "float32", [1, "b", 1])],
        [
            node("Abs", ["input"], ["loud"]),
            node("ReduceMean", ["loud"], ["now"], axes=[1], keepdims=1),
            node("Squeeze", ["state", "zero"], ["before"]),
            node("Mul", ["before", "half"], ["kept"]),
            node("Mul", ["now", "half"], ["heard"]),
            node("Add", ["kept", "heard"], ["mean"]),
            node("Unsqueeze", ["mean", "zero"], ["stateN"]),
            node("Cast", ["sr"], ["rate"], to=1),
            node("Div", ["rate", "rate"], ["one"]),
            node("Mul", ["mean", "ten"], ["scaled"]),
            node("Sub", ["scaled", "one"], ["centred"]),
            node("Sigmoid", ["centred"], ["output"]),
        ],
        {"half": np.array(0.5), "ten": np.array(10.0), "zero": np.array([0])},
    )
    speech = np.repeat(_draw().integers(0, 2, (40, 3)), 4, axis=1)
    sound = _draw().normal(0, 0.01 + 0.3 * speech[..., None], (40, 12, 64)).astype(np.float32)
    np.savez(project.path("data/test.npz"), input=sound, speech=speech.astype(np.float32))


def exported(project: Project) -> None:
    """A torch.export program whose input and output bear names that say nothing; labels are text."""
    torch = pytest.importorskip("torch")
    from sklearn.datasets import load_wine

    found = load_wine()
    rows = ((found.data - found.data.mean(0)) / found.data.std(0)).astype(np.float32)
    weight, bias = _linear(rows[::2], found.target[::2])
    network = torch.nn.Linear(13, 3)
    with torch.no_grad():
        network.weight.copy_(torch.tensor(weight.T))
        network.bias.copy_(torch.tensor(bias))
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = torch.tensor(rows[:4])
    program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(project.path("wine.pt2")))
    names = np.array(["barolo", "grignolino", "barbera"])[found.target]
    np.savez(project.path("test.npz"), x=rows[1::2], cultivar=names[1::2])


def with_weights(project: Project) -> None:
    """A function that reads weights of a format that no runtime knows."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    rows = ((found.data - found.data.mean(0)) / found.data.std(0)).astype(np.float32)
    weight, bias = _linear(rows[:300], found.target[:300])
    np.savez(project.path("weights/tumours.npz"), w=weight, b=bias)
    project.write(
        "tumours.py",
        """
import numpy as np


def load_model(path):
    with np.load(path) as weights:
        w, b = weights["w"], weights["b"]

    def answer(inputs):
        return {"benign": 1 / (1 + np.exp(-(inputs["x"] @ w + b)))}

    return answer
""",
    )
    np.savez(project.path("data/validation.npz"), x=rows[300:], label=found.target[300:])


def notes(project: Project) -> None:
    """Two outputs over time, with colons in their names, and a metric of the user's own: nothing else can judge them."""
    write_graph(
        project.path("notes.onnx"),
        [("input:0", "float32", ["batch", 256, 1])],
        [("Identity:1", "float32", ["batch", 16, 8]), ("Identity:2", "float32", ["batch", 16, 8])],
        [
            node("Reshape", ["input:0", "shape"], ["frames"]),
            node("MatMul", ["frames", "w"], ["Identity:1"]),
            node("Sigmoid", ["Identity:1"], ["Identity:2"]),
        ],
        {"shape": np.array([-1, 16, 16]), "w": _draw().normal(size=(16, 8))},
    )
    project.write(
        "judging.py",
        "def pitch_accuracy(labels, answers):\n    return float((answers.argmax(1) == labels).mean())\n",
    )
    sound = _draw().normal(size=(80, 256, 1)).astype(np.float32)
    timbre = np.array(["bell", "organ"])[np.arange(80) % 2]
    note = _draw().integers(36, 96, 80)
    np.savez(project.path("evaluation.npz"), **{"input:0": sound, "label": note, "timbre": timbre})
    np.savez(project.path("calibration.npz"), **{"input:0": sound[:20] * 2})


KINDS: dict[str, tuple[Callable[[Project], None], str]] = {
    "image": (images, "classification"),
    "audio, TorchScript": (sounds, "classification"),
    "text, a function": (text, "classification"),
    "tabular": (tables, "regression"),
    "bytes": (contents, "classification"),
    "several outputs": (several, "classification"),
    "stateful": (stateful, "regression"),
    ".pt2": (exported, "classification"),
    "a function with weights": (with_weights, "classification"),
}
ASKED = {"own metric": (notes, "metrics: {score: 'judging:pitch_accuracy'}")}


def _init(project: Project) -> dict[str, Any]:
    """Run `gradatim init`; the task of the contract that it wrote."""
    done = CliRunner().invoke(cli, ["init", str(project.folder)], standalone_mode=False)
    assert done.exception is None, done.exception
    contract = read_contract(project.folder / "gradatim.yml")
    return contract.parts.model_dump(mode="json")


def _walk(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """`gradatim gate --plan`, and the steps of `gradatim run --until gate`: exit codes by name."""
    path = project.folder / "gradatim.yml"
    path.write_text(path.read_text(encoding="utf-8") + FEW_ROUNDS, encoding="utf-8")
    project.commit()
    monkeypatch.chdir(project.folder)
    planned = CliRunner().invoke(cli, ["gate", "--plan"], standalone_mode=False)
    assert planned.exception is None, planned.exception
    codes = {"plan": int(planned.return_value or 0)}
    for step in ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate"):
        contract = read_contract(path)
        candidate = Candidate(contract, Laptop())
        codes[step] = run_step(step, candidate).code
    return codes


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_contract_is_right_without_an_edit(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, task = KINDS[kind]
    project = Project(tmp_path)
    make(project)
    contract = _init(project)
    text = (project.folder / "gradatim.yml").read_text(encoding="utf-8")
    assert contract["task"]["type"] == task
    assert "# ?" not in text
    assert "# Note" not in text
    codes = _walk(project, monkeypatch)
    assert set(codes.values()) <= {0, 1}, codes
    assert codes["plan"] == 0
    assert codes["evaluate"] == 0


@pytest.mark.parametrize("kind", ASKED)
def test_what_cannot_be_known_is_one_question_with_the_right_answer_in_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, answer = ASKED[kind]
    project = Project(tmp_path)
    make(project)
    contract = _init(project)
    text = (project.folder / "gradatim.yml").read_text(encoding="utf-8")
    (asked,) = [line for line in text.splitlines() if line.startswith("# ?")]
    assert answer in asked
    assert contract["data"]["slices"] == ["timbre"]
    codes = _walk(project, monkeypatch)
    assert set(codes.values()) <= {0, 1}, codes
    assert json.loads(json.dumps(contract["task"]["type"])) == "embedding"
