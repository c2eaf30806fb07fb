"""The mistakes of a first hour, in a table: what is said, at which place, with which exit code; mended, it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from projects.graphs import node, write_graph
from projects.small import DATA, MODEL, Copy, write_columns

LABELS = "labels: [0, 1, 2]"


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        make: makes it.
        command: what the user then runs.
        code: its exit code.
        told: what must be said, a pattern over the text with its line breaks evened out.
    """

    make: Callable[[Copy], object]
    command: str
    code: int
    told: str


def contract(old: str, new: str) -> Callable[[Copy], None]:
    return lambda project: project.change_contract(old, new)


def text_labels(project: Copy) -> None:
    names = np.array(["cat", "dog", "cow"])[np.arange(200) % 3]
    write_columns(project.path(DATA), label=names)
    project.change_contract(f"{{type: classification, {LABELS}}}", "classification")


def table(project: Copy, lacking: str, *, by_name: bool) -> None:
    """Thirty features, of which the data lacks one."""
    names = [f"f{number}" for number in range(30)]
    weights = {"w": np.random.default_rng(0).normal(size=(30, 3))}
    scores = [("scores", "float32", ["n", 3])]
    if by_name:
        inputs = [(name, "float32", ["n", 1]) for name in names]
        nodes = [node("Concat", names, ["x"], axis=1), node("MatMul", ["x", "w"], ["scores"])]
        write_graph(project.path(MODEL), inputs, scores, nodes, weights)
    else:
        write_graph(
            project.path(MODEL), [("x", "float32", ["n", 30])], scores, [node("MatMul", ["x", "w"], ["scores"])], weights
        )  # fmt: skip
    kept = [name for name in names if name != lacking]
    for which, columns in (("test", kept), ("calibration", names)):
        rows = [",".join((*columns, "label"))]
        rows += [",".join((*("0.5" for _ in columns), str(row % 3))) for row in range(60)]
        project.path(f"data/{which}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    project.change_contract("data/test.npz", "data/test.csv")
    project.change_contract("data/calibration.npz", "data/calibration.csv")
    project.change_contract("  slices: site\n  preprocess: prepare:features\n", "")


MODELS = "{name: a, path: model/a.onnx}"
ONE_MODEL = "model: {name: small, path: model/small.onnx}"
MISTAKES = {
    "a data file misspelt": Mistake(
        contract("data/test.npz", "data/tset.npz"),
        "evaluate", 3, r"gradatim\.yml:3: .*data/tset\.npz does not exist\. Did you mean `data/test\.npz`\?",
    ),
    "a data file in another folder": Mistake(
        contract("data/test.npz", "test.npz"),
        "evaluate", 3, r"gradatim\.yml:3: .*test\.npz does not exist\. Did you mean `data/test\.npz`\?",
    ),
    "a data file misspelt, planned": Mistake(
        contract("data/test.npz", "data/tset.npz"),
        "gate --plan", 3, r"gradatim\.yml:3: .*Did you mean `data/test\.npz`\?",
    ),
    "a model misspelt": Mistake(
        contract("model/small.onnx", "model/smal.onnx"),
        "inspect", 3, r"gradatim\.yml:1: There is no model at model/smal\.onnx\. Did you mean `model/small\.onnx`\?",
    ),
    "labels as text": Mistake(
        text_labels, "evaluate", 3, r"gradatim\.yml:7: .*in that order, for example `labels: \[cat, cow, dog\]`"
    ),
    "a column of thirty missing": Mistake(
        lambda project: table(project, "f13", by_name=False),
        "evaluate", 3, r"gradatim\.yml:3: .*30 features.*29 columns.*`f13`(?!.*f14)",
    ),
    "an input of thirty missing": Mistake(
        lambda project: table(project, "f13", by_name=True),
        "evaluate", 3, r"gradatim\.yml:3: .*no column for the model's input `f13`(?!.*f14)",
    ),
    "a column to slice by misspelt": Mistake(
        contract("slices: site", "slices: sight"),
        "evaluate", 3, r"gradatim\.yml:5: .*no column `sight`.*Did you mean `site`\?",
    ),
    "a preprocessing that is not there": Mistake(
        contract("prepare:features", "prepared:features"),
        "evaluate", 3, r"gradatim\.yml:6: .*prepared.*Did you mean `prepare`\?",
    ),
    "a metric that is not there": Mistake(
        contract(LABELS, f"{LABELS}, metrics: {{mine: scored:mine}}"),
        "evaluate", 3, r"gradatim\.yml:7: .*scored",
    ),
    "tests that are not there": Mistake(
        contract("pytest: tests/model", "pytest: tests/models"),
        "test", 2, r"gradatim\.yml:8: .*tests/models.*does not exist\. Did you mean `tests/model`\?",
    ),
    "golden cases that are not there": Mistake(
        contract("pytest: tests/model", "golden: golden.npz, pytest: tests/model"),
        "test", 3, r"golden\.npz does not exist.*gradatim\.yml:8",
    ),
    "three models in one list": Mistake(
        contract(ONE_MODEL, f"model: [{MODELS}, {MODELS}, {MODELS}]"),
        "inspect", 2, r"gradatim\.yml:1:8: .*one contract a folder",
    ),
    "three models by name": Mistake(
        contract(ONE_MODEL, "model:\n  a: {path: a.onnx}\n  b: {path: b.onnx}\n  c: {path: c.onnx}"),
        "inspect", 2, r"gradatim\.yml:1:1: .*one contract a folder(?!.*unknown key)",
    ),
    "three models under another key": Mistake(
        contract(ONE_MODEL, f"models:\n  - {MODELS}\n  - {MODELS}"),
        "inspect", 2, r"gradatim\.yml:1:1: .*one contract a folder(?!.*is missing)",
    ),
    "three documents in one file": Mistake(
        contract("stages:", f"---\n{ONE_MODEL}\nstages:"),
        "inspect", 2, r"gradatim\.yml:13:1: .*one contract a folder",
    ),
    "a model without its name": Mistake(
        contract(ONE_MODEL, "model: model/small.onnx"),
        "inspect", 2, r"gradatim\.yml:1:8: .*`model: \{name: \.\.\., path: model/small\.onnx\}`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_at_its_place_and_once_mended_the_command_runs(what: str, small: Copy) -> None:
    mistake = MISTAKES[what]
    mistake.make(small)
    done = small.call(*mistake.command.split())
    said = " ".join(done.said.split())
    assert done.code == mistake.code, done.said
    assert re.search(mistake.told, said), done.said
    assert "Traceback" not in said
    assert "bug in gradatim" not in said
    assert len(done.err.splitlines()) <= 25, done.err
    small.git("checkout", "--quiet", "--", ".")
    again = small.call(*mistake.command.split())
    assert again.code == 0, again.said


def tagged_by_hand(project: Copy, *, with_model: bool) -> None:
    if not with_model:
        project.git("rm", "--quiet", "--cached", MODEL)
        project.git("commit", "--quiet", "--message", "Package")
    project.git("tag", "--annotate", "--message", "Package 2.0.0", "v2.0.0")
    project.git("push", "--quiet", "origin", "v2.0.0")
    if not with_model:
        project.commit()


def test_a_tag_that_gradatim_did_not_make_is_said_to_be_the_baseline(small: Copy) -> None:
    tagged_by_hand(small, with_model=True)
    done = small.call("run", "--until", "evaluate")
    assert done.code == 0, done.said
    assert "v2.0.0 was not tagged by gradatim" in " ".join(done.err.split())
    assert "not tagged by gradatim" in small.call("status").out
    small.call("run")
    assert "not tagged by gradatim" not in small.call("status").out


def test_a_tag_of_something_else_stops_nothing_where_the_models_tags_bear_its_name(small: Copy) -> None:
    tagged_by_hand(small, with_model=False)
    done = small.call("evaluate")
    assert done.code == 4, done.said
    said = " ".join(done.err.split())
    assert re.search(
        r"v2\.0\.0 was not tagged by gradatim.*no model/small\.onnx.*`registry: \{tags: named\}`", said
    )
    small.change_contract("stages:", "registry: {tags: named}\nstages:")
    small.commit()
    done = small.call("run")
    assert done.code == 0, done.said
    assert "small@v1.0.0 on origin" in done.err


def test_too_few_samples_to_tell_is_said_in_plain_words_with_what_to_do(proven: Copy) -> None:
    proven.change_contract("at_least: 80%", "at_least: 98%")
    done = proven.call("run", "--until", "gate")
    said = " ".join(done.err.split())
    assert done.code == 1, done.said
    assert re.search(r"gate +1 PASS, 1 INCONCLUSIVE.*Cannot tell: accuracy .*gradatim\.yml:10", said), said
    assert "not proven by the data there is: nothing was tagged." in said
    assert (
        "More samples decide it, or a bound that these can prove: gradatim gate --plan says how many." in said
    )
    proven.git("checkout", "--quiet", "--", ".")
    assert proven.call("run", "--until", "gate").code == 0


def test_a_dry_run_of_tag_says_what_would_stop_it_with_the_code_that_tag_has(proven: Copy) -> None:
    done = proven.call("tag", "--dry-run")
    assert (done.code, done.out.split(",")[0]) == (0, "would tag version v1.0.0")
    proven.write("model/note.txt", "tracked")
    proven.git("add", "model/note.txt")
    done = proven.call("tag", "--dry-run")
    assert done.code == proven.call("tag").code == 2
    assert "model/note.txt" in done.err
    proven.git("rm", "--quiet", "--force", "model/note.txt")
    proven.change_contract("at_least: 80%", "at_least: 98%")
    proven.commit()
    done = proven.call("tag", "--dry-run")
    assert done.code == proven.call("tag").code == 3
    assert "Run: gradatim run --until gate" in done.err
    proven.call("run", "--until", "gate")
    done = proven.call("tag", "--dry-run")
    assert done.code == proven.call("tag").code == 1
    assert "would tag" not in done.said
    assert "refused by the gates" in done.said
    assert proven.git("tag") == ""
