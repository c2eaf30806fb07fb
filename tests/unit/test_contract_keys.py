"""A key that the contract takes is a promise: a change of its value changes a rule, a command's work, a rendered file or an error.

The keys come from the schema, so that a new one is held to this by itself. Digests of whole sections do not count: they would
change with a key that nobody reads.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import pickle
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_keys import BASE, EXAMPLES, SERVER, Example, contract_with, from_the_schema, keys_of
from gate_project import write_model
from language_server import serving
from pydantic import Field
from registry_examples import IDENTITY, commit_file, git, new_repository
from signing_examples import write_key

from gradatim.candidate import training
from gradatim.candidate.bar import weakened
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.flips import flipped
from gradatim.candidate.judging import judge_answers, judge_of
from gradatim.candidate.model import server_settings
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.checks.golden import GoldenCase, write_cases
from gradatim.ci import Place
from gradatim.ci.github_settings import Reviewer, settings_of
from gradatim.ci.laptop import Laptop
from gradatim.ci.occasion import occasion
from gradatim.code.surroundings import allowed
from gradatim.commands.iterate import iteration_of
from gradatim.commands.registry_view import view_of
from gradatim.contract.reading import read_contract
from gradatim.contract.schema import Contract
from gradatim.contract.values import Section
from gradatim.errors import GradatimError
from gradatim.evidence.assembly import assemble
from gradatim.evidence.found import Compressed, FormLeft
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import CONTRACT_FILE, GOLDEN_FILE
from gradatim.evidence.statement import Bundle
from gradatim.files import read_json
from gradatim.metrics.answers import ANSWER
from gradatim.metrics.catalogue import TIMINGS
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.predictions_writer import PredictionsWriter
from gradatim.metrics.scored import SCORE
from gradatim.pipeline.graph import GRAPH, STEPS
from gradatim.pipeline.module import inputs_of, step_module
from gradatim.pipeline.step import run_step
from gradatim.progress import Advance, Silent
from gradatim.publishers.retrieval import committed_paths
from gradatim.registry.state import status
from gradatim.registry.tagging import announce
from gradatim.releasing.deploying import words_of
from gradatim.releasing.signing import signatures_of, signing_for
from gradatim.rendering.workflows import caller_of, render_caller
from gradatim.report.bom import render_bom
from gradatim.report.card import render_card
from gradatim.report.collect import collect
from gradatim.report.hub_score import render_score
from gradatim.steps import gate, promote
from gradatim.steps.benchmark import load_asked, streaming_of, users_asked
from gradatim.steps.tag import upcoming

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.xdist_group("contract_keys")  # the project is released once

KEYS = tuple(keys_of())
ROWS = 24

_SAMPLE = '{{"doc_id": {0}, "target": "a", "filtered_resps": ["a"], "metrics": ["acc"], "prompt_hash": "{0}", "acc": {1}}}\n'

_PAIR = (
    '{{"prompt": "{0}", "first": "longer", "second": "short", "preferred": "{1}", "disliked": "second"}}\n'
)

FILES = {
    "said/one.jsonl": '{"version": "v0.9.0", "good": false}\n',
    "told/one.jsonl": '{"version": "v0.9.0", "good": true}\n',
    "drift.json": '{"columns": []}',
    "other.json": '{"columns": [{"column": "x", "psi": 1, "test": "KS", "p": 0, "verdict": "FAIL"}]}',
    "talker/config.json": '{"architectures": ["SomeForCausalLM"]}',
    "talker/tokenizer_config.json": "{}",
    "talker/model.safetensors": "\x40" + "\0" * 7 + "{}".ljust(64),
    "first.jsonl": "".join(_SAMPLE.format(row, row % 2) for row in range(ROWS)),
    "second.jsonl": "".join(_SAMPLE.format(row, 1) for row in range(ROWS)),
    "prompts.jsonl": '{"prompt": "a", "label": "12"}\n{"prompt": "b", "label": "1"}\n' * 6,
    "speaking.py": """\
import json
import numpy as np

def make():
    said = json.dumps({"texts": ["12"], "cut": [False]}), json.dumps({"texts": ["12"], "cut": [True]})
    return lambda inputs: {"answer": np.array([said[n % 3 == 2] for n, _ in enumerate(inputs["request"])], object)}

def ones(references, answers):
    return [1.0 for _ in answers]

def twos(references, answers):
    return [2.0 for _ in answers]

def longer(questions, first, second):
    return ["first" if len(one) > len(other) else "second" for one, other in zip(first, second)]

def unsure(questions, first, second):
    return [None for _ in first]
""",
    "people.jsonl": "".join(_PAIR.format(row, "first") for row in range(30)),
    "others.jsonl": "".join(_PAIR.format(row, "first") for row in range(20)),
    "scoring.py": "def cost(labels, predictions):\n    return 1.0\n\ndef gain(labels, predictions):\n    return 2.0\n",
    "prepare.py": "def once(columns):\n    return {'x': columns['x']}\n\ndef twice(columns):\n    return {'x': columns['x'] * 2}\n",
    "many.csv": "label,a,b,c,d,e,f,hard,other\n"
    + "".join(
        f"{n % 3},{n % 3 == 0:d},{n % 3 == 1:d},{n % 3 == 2:d},0,0,0,{n % 7},{n % 5}\n" for n in range(70)
    ),
    "pool.csv": "hard\n" + "".join(f"{n % 7}\n" for n in range(140)),
    "other_pool.csv": "hard\n" + "".join(f"{n % 7}\n" for n in range(200)),
    "make.py": "import shutil\nshutil.copy('model.onnx', 'made.onnx')\n",
    "tests/good/test_small.py": "def test_it_answers(model):\n    assert model.signature\n",
    "tests/bad/test_small.py": "def test_it_does_not(model):\n    assert False\n",
    "serve.py": """\
import io, sys
import numpy as np

while length := int.from_bytes(sys.stdin.buffer.read(8), "little"):
    x = np.load(io.BytesIO(sys.stdin.buffer.read(length)))["x"]
    answer = io.BytesIO()
    np.savez(answer, scores=np.tile(x.reshape(len(x), -1), 3)[:, :3] * int(sys.argv[1]))
    sys.stdout.buffer.write(len(answer.getvalue()).to_bytes(8, "little") + answer.getvalue())
    sys.stdout.buffer.flush()
""",
    "rules.py": """\
import numpy as np

class Rules:
    def __call__(self, inputs):
        x = np.tile(inputs["x"].reshape(len(inputs["x"]), -1), 3)[:, :3]
        state = inputs.get("state", np.zeros((len(x), 1), np.float32)) + 1
        return {"scores": x * inputs.get("gain", np.float32(1)) + state, "next": state, "after": -state}

def model():
    return Rules()

def other():
    return lambda inputs: {"scores": -inputs["x"][:, :3]}

def two():
    return lambda inputs: {"scores": inputs["x"][:, :2]}

def boxes():
    return lambda inputs: {
        "boxes": np.tile(np.float32([[1, 1, 4, 4], [2, 2, 7, 9]]), (len(inputs["x"]), 1, 1)),
        "sure": np.tile(np.float32([0.9, 0.1]), (len(inputs["x"]), 1)),
        "unsure": np.tile(np.float32([0.1, 0.9]), (len(inputs["x"]), 1)),
        "first": np.zeros((len(inputs["x"]), 2)),
        "second": np.ones((len(inputs["x"]), 2)),
    }


def halved(model, out):
    out.write_bytes(model.read_bytes())
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A released project: a candidate in `alpha` for ten days, with all of its evidence, here and in git."""
    folder = tmp_path_factory.mktemp("keys")
    root = new_repository(folder / "repo", remote=folder / "remote.git")
    git(folder, "init", "-q", "--bare", str(folder / "upstream.git"))
    git(root, "remote", "add", "upstream", str(folder / "upstream.git"))
    write_model(root / "model.onnx", "old")
    _write_uneven(root / "uneven.onnx")
    labels = np.arange(ROWS) % 3
    x = (np.eye(6)[labels] * 3 + np.random.default_rng(0).normal(size=(ROWS, 6)) / 9).astype(np.float32)
    columns = {"label": labels, "y": labels[::-1], "site": labels // 2, "user": labels, "z": -x}
    columns["found"] = np.tile(np.float32([1, 1, 4, 4, 0]), (ROWS, 1, 1))
    np.savez(root / "test.npz", x=x, **columns)
    np.savez(root / "calibration.npz", x=x[::-1], **columns)
    np.savez(root / "golden.npz", x=x[:2], expected_scores=x[:2, :3] * 1.5 + 1e-3)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in ("one", "two"):
        write_key(root / "keys", name)
    (root / "mlruns").mkdir()
    (root / "model.pkl").write_bytes(pickle.dumps({"w": [1.0]}))
    (root / "gradatim.yml").write_text(json.dumps(contract_with("model.name", "small", {})))
    commit_file(root, ".gitignore", b".gradatim/\n__pycache__/\nmade.onnx\n")
    _hold_the_undecided(root)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        patch.setenv("SOURCE_DATE_EPOCH", str(int(time.time()) - 10 * 86_400))
        _release_by_hand(root, "v0.9.0")
        write_model(root / "model.onnx", "old", shift=0.5)
        commit_file(root, "notes.md", b"better\n")
        for step in GRAPH:
            if not step.asked:
                run_step(step.name, candidate_of(root, "alpha"))
        patch.delenv("SOURCE_DATE_EPOCH")
        yield root


def _write_uneven(path: Path) -> None:
    """Its time goes to sixty products with one constant, its bytes to a table behind them.

    Stages of even time both hold the constant; of stages of even size only the first does, so that they are smaller together.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names = ["x", *(f"h{number}" for number in range(10, 70))]
    nodes = [
        helper.make_node("Mul", [before, "ones"], [after]) for before, after in itertools.pairwise(names)
    ]
    nodes += [
        helper.make_node("Gather", ["table", "row"], ["weights"]),
        helper.make_node("MatMul", [names[-1], "weights"], ["scores"]),
    ]
    table = np.tile(np.eye(6, 3, dtype=np.float32), (1000, 1, 1))
    constants = {"ones": np.ones(6, np.float32), "row": np.array(0), "table": table}
    graph = helper.make_graph(
        nodes,
        "uneven",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _hold_the_undecided(root: Path) -> None:
    """A branch `held`, whose contract differs by what the undecided do in `production`."""
    stages = {name: {**stage} for name, stage in BASE["stages"].items()}
    del stages["production"]["on_inconclusive"]
    held = json.dumps(contract_with("model.name", "small", {"stages": stages}))
    git(root, "checkout", "-q", "-b", "held")
    commit_file(root, "gradatim.yml", held.encode())
    git(root, "checkout", "-q", "main")


def _release_by_hand(root: Path, version: str) -> None:
    """A release in `production` whose golden answers no later model gives, and which called the label 2 otherwise."""
    candidate = candidate_of(root)
    commit, manifest = candidate.repository.head(), candidate.forms.original.manifest
    rows = np.load(root / "test.npz")["x"][:2]
    golden = root.parent / "golden.npz"
    write_cases(golden, [GoldenCase("evaluation", {"x": rows}, {"scores": rows[:, 3:]})])
    contract = root.parent / "gradatim.yml"
    contract.write_text(json.dumps(contract_with("task.labels", [0, 1, "two"], {})))
    files = assemble(
        manifest,
        root,
        Bundle(()),
        tag=version,
        version=version,
        stage="production",
        variant="original",
        commit=commit,
        previous=None,
        committed=committed_paths(candidate.repository, commit, manifest, "model.onnx"),
        others={GOLDEN_FILE: golden, CONTRACT_FILE: contract},
    )
    announce(candidate.repository, files.record, files.manifest, files.kept)


def candidate_of(root: Path, stage: str | None = None) -> Candidate:
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), stage, progress=Recorded())


class Recorded(Silent):
    """Remembers what long work told of itself."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Advance]:
        yield lambda amount=1, note="": self.told.append((amount, note))


# what can be seen of a contract, cheapest first; each gives something that differs where the contract means something else


def rules(candidate: Candidate) -> object:
    stages = candidate.contract.stage_rules
    return [
        replace(rule, line=0)
        for some in (candidate.contract.rules, candidate.contract.canary, *stages.values())
        for rule in some
    ]


def surroundings(candidate: Candidate) -> object:
    """What the user's code would see of an environment in which everything is set."""
    everything = {"GRADATIM_ENV": os.environ["GRADATIM_ENV"], "DATA_ROOT": "/data", "OTHER_ROOT": "/other"}
    return sorted(allowed(everything)), candidate.name


def streamed(candidate: Candidate) -> object:
    """What a language model is asked while it is timed."""
    return streaming_of(candidate, ())


def loaded(candidate: Candidate) -> object:
    """What load is tried."""
    said = candidate.contract.parts.benchmark.load
    return [load_asked(candidate, 1, 0), users_asked(candidate, said.url or "")] if said else None


def planned(candidate: Candidate) -> object:
    stages = (None, *candidate.contract.ladder)
    asked = (Candidate(candidate.contract, candidate.platform, stage) for stage in stages)
    return [
        [replace(row, line=0) for row in (*gate.plan_gates(one), *gate.hopeless_gates(one))] for one in asked
    ]


def ci(candidate: Candidate) -> object:
    contract, stages = candidate.contract, candidate.contract.ladder
    places = [Place(branch=name) for name in ("main", "develop", "other")]
    places += [Place(tag=name) for name in ("v1.0.0", "v1.0.0-rc.1", "small@v1.0.0")]
    pushes = [occasion(contract.parts, place, "push", {}, "any").plan() for place in places]
    asked = [{"inputs": {"do": "promote", "stage": stage}} for stage in stages]
    dispatches = [occasion(contract.parts, Place(), "workflow_dispatch", ask, "any").plan() for ask in asked]
    settings = settings_of(contract.parts, reviewers=[Reviewer("User", 1)])
    return pushes, dispatches, settings, render_caller(caller_of([contract], candidate.root))


def places(candidate: Candidate) -> object:
    return [place.location for place in candidate.publishers()], candidate.repository.remote


def deployed(candidate: Candidate) -> object:
    """What `gradatim deploy` would do."""
    return [
        (
            stage.deploy.kind,
            stage.deploy.kubernetes,
            words_of(stage.deploy.address, "v1.0.0", name, "files", "0"),
        )
        for name, stage in candidate.contract.parts.stages.items()
        if stage.deploy is not None
    ]


def iterated(candidate: Candidate) -> object:
    """What `gradatim iterate` would tell."""
    view = view_of(candidate.repository, candidate.registry, candidate.contract)
    found = iteration_of(view, candidate.contract, None)
    return found.shares, found.drift, found.uses


def signing(candidate: Candidate) -> object:
    stages = candidate.contract.ladder
    return signatures_of(candidate.contract), [signing_for(candidate.contract, stage, {}) for stage in stages]


def lineage(candidate: Candidate) -> object:
    return training.digests(candidate)


def trained(candidate: Candidate) -> object:
    return training.lineage_of(candidate)


def answers(candidate: Candidate) -> object:
    with candidate.model.open(candidate.model.path) as predictor:
        rows = candidate.rows.dataset("evaluation", predictor.signature).head(2)
        return predictor.signature, predictor.device, predictor.threads, predictor(rows.inputs)


def rows(candidate: Candidate) -> object:
    with candidate.model.open(candidate.model.path) as predictor:
        signature = predictor.signature
    sets = (candidate.rows.dataset(which, signature) for which in ("evaluation", "calibration"))
    return [vars(batch) for dataset in sets for batch in dataset.batches(3)]


def shown(candidate: Candidate) -> object:
    view = view_of(candidate.repository, candidate.registry, candidate.contract)
    return [
        status(view.registry, ladder=view.ladder, suffixes=view.suffixes, soak=view.soak, now=2e9),
        [upcoming(candidate, candidate.forms.original, stage) for stage in view.ladder],
        (view.checkable, view.approved),
    ]


def documents(candidate: Candidate) -> object:
    report = collect(candidate)
    return render_card(report), render_bom(report), render_score(report)


def shown_of_two(candidate: Candidate) -> object:
    """Which prompts the report shows of two models, one of which is right about nothing."""
    task = candidate.contract.parts.task
    if task is None or task.type != "generation" or candidate.contract.parts.data.evaluation is None:
        return None
    scored, rows = candidate.rows.task(), len(candidate.rows.dataset("evaluation", None))
    said = np.array([json.dumps({"texts": ["12"], "cut": [False]})] * rows, object)
    columns = [
        {ANSWER: said, **{SCORE + one.name: np.full(rows, right) for one in scored.scorers}}
        for right in (1.0, 0.0)
    ]
    old, new = (Predictions.of(column, ['"12"'] * rows) for column in columns)
    return flipped(candidate, Evaluation(scored, new, Evaluation(scored, old)))


def judged(candidate: Candidate) -> object:
    """What the judge says of two models, one of which answers at more length."""
    said = judge_of(candidate)
    if said is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name in ("gradatim.yml", "prompts.jsonl", "speaking.py", "people.jsonl", "others.jsonl"):
            shutil.copy(candidate.root / name, folder)
        apart = candidate_of(Path(folder))
        for name, text in (("original", "12"), (BASELINE, "1")):
            answers = np.array([json.dumps({"texts": [text], "cut": [False]})] * 12, object)
            with PredictionsWriter(apart.workspace.predictions_folder(name)) as writer:
                writer.append({ANSWER: answers})
        found = judge_answers(apart, apart.rows.task(), ("original", BASELINE))
        table = apart.workspace.predictions("original").outputs["judged"].values.tolist()
    asked = said.endpoint and server_settings(candidate.contract, said.endpoint, "task", "judge")
    return repr((asked, found, table)).replace(folder, "")


def promoted(candidate: Candidate) -> object:
    return promote.plan(candidate, candidate.contract.ladder[-1])


class PullRequest(Laptop):
    """A run for a pull request onto the branch that holds a contract which lets nothing undecided pass."""

    def place(self) -> Place | None:
        return Place(branch="topic", target="held")


def lowered(candidate: Candidate) -> object:
    return weakened(Candidate(candidate.contract, PullRequest(), candidate.contract.ladder[-1]))


def step(name: str) -> Callable[[Candidate], object]:
    """What a step finds, after those that it needs."""

    def run(candidate: Candidate) -> object:
        for before in STEPS[name].needs:
            run_step(before, candidate)
        files = (
            step_module(name).depends_on(candidate) if name == "build" else None
        )  # those that the command reads
        return files, told(step_module(name).run(candidate), candidate)

    run.__name__ = name
    return run


def compressed(candidate: Candidate) -> object:
    """What the test step finds of a form that answers a little otherwise, as compression leaves one."""
    original, path = candidate.forms.original, candidate.workspace.folder / "models/int8/model.onnx"
    path.parent.mkdir(parents=True)
    write_model(path, "old", shift=0.51)
    smaller = Manifest.of(candidate.name, path.parent, [path])
    subjects = {"int8": smaller.digest, original.name: original.manifest.digest}
    left = Compressed((FormLeft("int8", path.name), FormLeft(original.name)))
    outcome = Outcome("", subjects, found=left, outputs=(path,))
    inputs = inputs_of("compress", candidate)
    candidate.workspace.save(outcome.statement(candidate, "compress", inputs, 0.0))
    return told(step_module("test").run(candidate), candidate)


_TIMED = (*TIMINGS, "memory")


def told(found: Outcome, candidate: Candidate) -> object:
    """What a step found, without what differs from run to run: times, and what hangs on them."""
    files = {path.name: path for path in found.outputs}
    timed = read_json(files["benchmark.json"])["contestants"] if "benchmark.json" in files else ()
    details = found.found.to_json() if found.found else {}
    work = candidate.progress.told if isinstance(candidate.progress, Recorded) else ()
    return [
        [m for m in found.measurements if not m.name.startswith(_TIMED)],
        [(result.gate, result.verdict, result.variant) for result in found.gates],
        [(check["name"], check["verdict"]) for check in details.get("checks", ())],
        [(trial["name"], trial.get("size"), trial.get("quality")) for trial in details.get("trials", ())],
        [(one["name"], one["threads"], one["items"], len(one["by_round"]["latency_floor"])) for one in timed],
        [one["metric"] for one in details.get("grounds", {}).get("samples", ()) if "outcomes" in f"{one}"],
        details.get("covariate"),
        [amount for amount, where in work if not timed and "trials" not in details],
        [(path.name, arrays(path)) for path in files.values() if path.suffix == ".npz"],
    ]


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as found:
        return {name: values.tolist() for name, values in found.items()}


RUNS = {name: step(name) for name in ("build", "inspect", "evaluate", "test", "compress", "benchmark")}
RUNS["test of a compressed form"] = compressed
RUNS["publish, as gate lets it tell"] = step("gate")
GLANCES = (rules, surroundings, planned, loaded, ci, places, deployed, signing, lineage, trained, judged)
LOOKS = (
    *GLANCES,
    iterated,
    answers,
    rows,
    shown,
    documents,
    promoted,
    shown_of_two,
    lowered,
    streamed,
)


Observer = Callable[[Candidate], object]


def observers(key: str) -> tuple[Observer, ...]:
    """All of them, those that take no time first, then the step of the key's own section: it is the one that should tell."""
    section = key.partition(".")[0]
    own = {"task": "evaluate"}.get(section, section)
    steps = [observe for name, observe in RUNS.items() if name.startswith(own)]
    return tuple(dict.fromkeys((*GLANCES, *steps, *LOOKS, *RUNS.values())))


def _said(body: dict[str, Any]) -> str:
    """What the server answers, to a judge's question as its rubric has it, if it may say so much."""
    if "better" not in json.dumps(body):
        return "12"
    better = "first" if "long" in body["messages"][0]["content"] else "second"
    return json.dumps({"better": better}) if body["max_tokens"] > 10 else "I am"


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """Where a model is served."""
    with serving(_said) as asked:
        yield asked.url


@pytest.fixture(scope="module")
def see(
    project: Path, served: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Observer, str], str]:
    """What an observer sees of a contract, an error among that; steps work in a copy of the project."""

    def see(observe: Observer, contract: str) -> str:
        root = project
        if observe in RUNS.values():
            root = tmp_path_factory.mktemp("copy") / "repo"
            shutil.copytree(project, root, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "gradatim.yml").write_text(contract.replace(SERVER, served))
        try:
            found = repr(observe(candidate_of(root)))
        except GradatimError as error:
            found = f"{type(error).__name__}: {error}"
        return re.sub(r"yml:\d+(:\d+)?", "yml", found.replace(str(root), ""))

    return see


@pytest.fixture(scope="module")
def seen(see: Callable[[Observer, str], str]) -> Callable[[Observer, str], str]:
    return functools.cache(see)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_contract_has_a_reader(key: str, seen: Callable[[Observer, str], str]) -> None:
    example = EXAMPLES.get(key) or from_the_schema(key)
    assert example is not None, f"`{key}` has no example: give it two values in EXAMPLES"
    values = (example.one, example.other)
    one, other = (json.dumps(contract_with(key, value, example.given)) for value in values)
    assert not seen(rules, one).startswith("ContractError"), f"the first example of `{key}` is no contract"
    found = next((observe for observe in observers(key) if seen(observe, one) != seen(observe, other)), None)
    assert found is not None, f"nothing reads `{key}`: {values[0]!r} and {values[1]!r} mean the same"


@pytest.mark.parametrize("name", [*(observe.__name__ for observe in LOOKS), *RUNS])
def test_what_is_seen_of_a_contract_does_not_change_by_itself(
    name: str, see: Callable[[Observer, str], str], seen: Callable[[Observer, str], str]
) -> None:
    observe = {**{one.__name__: one for one in LOOKS}, **RUNS}[name]
    key = next((key for key in reversed(KEYS) if key.startswith(f"{name}.")), KEYS[0])
    example = EXAMPLES.get(key) or Example("small", "other")
    contract = json.dumps(contract_with(key, example.one, example.given))
    assert see(observe, contract) == seen(observe, contract)


def test_a_new_key_is_held_to_this_by_itself() -> None:
    class Deeper(Section):
        promised: bool = False

    class Wider(Contract):
        many: dict[str, Deeper] = Field(default_factory=dict)

    assert set(keys_of(Wider)) - set(KEYS) == {"many.*.promised"}
