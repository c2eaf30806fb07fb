"""Two runtimes of one model, or a compressed form of it: compared by the chances of tokens, never by the same text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_speaker import write_questions, write_speaker

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.rows import Rows
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import InvalidInput
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.verdict import Verdict
from gradatim.metrics.answers import LIKELY, Spread, divergence, read_answer
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.models.predict import predict


def told(chances: np.ndarray, token: int) -> Spread:
    """What is told of a distribution at one place."""
    order = np.argsort(-chances)[:LIKELY]
    return ((token, float(np.log(chances[token]))), *((int(t), float(np.log(chances[t]))) for t in order))


@pytest.mark.parametrize("sharp", [0.3, 1.0, 3.0])
def test_the_divergence_that_is_told_is_never_more_than_the_true_one(sharp: float) -> None:
    dice = np.random.default_rng(0)
    for _ in range(30):
        scores = dice.normal(size=500) * sharp * 2
        p, q = (np.exp(s) / np.exp(s).sum() for s in (scores, scores + dice.normal(size=500) * 0.3))
        true = float((p * np.log(p / q)).sum())
        found = divergence([told(p, 3)], [told(q, 3)])
        assert found is not None
        assert found <= true + 1e-9
        if sharp == 3.0:
            assert found > true * 0.8


def test_the_same_chances_do_not_diverge_and_others_altogether_do() -> None:
    dice = np.random.default_rng(1)
    p = np.exp(dice.normal(size=1000) * 4)
    p /= p.sum()
    other = np.roll(p, 500)
    assert divergence([told(p, 0)] * 3, [told(p, 0)] * 3) == pytest.approx(0, abs=1e-9)
    assert (divergence([told(p, 0)], [told(other, 0)]) or 0) > 1
    assert divergence([told(p, 0)], [told(p, 1)]) is None
    assert divergence([told(p, 0)], [told(p, 0)] * 2) is None


CONTRACT = """
model: {name: capitals, path: model}
data: {evaluation: test.jsonl}
task: {type: generation, scorers: [exact_match, bits_per_byte], generation: {max_new_tokens: 4}}
gates: {kl: {at_most: 0.01}}
stages: {production: {branch: main}}
"""


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model that knows the capitals."""
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("parity")
    write_speaker(root / "model")
    write_questions(root / "test.jsonl", 20)
    (root / "gradatim.yml").write_text(CONTRACT)
    return root


def answered(root: Path, name: str, noise: float) -> Predictions:
    """What the model answers with so much noise on its weights."""
    from safetensors.numpy import load_file, save_file

    candidate, dice = Candidate(read_contract(root / "gradatim.yml"), Laptop()), np.random.default_rng(0)
    form = shutil.copytree(root / "model", root / name)
    weights = load_file(form / "model.safetensors")
    noisy = {n: (w + noise * dice.normal(size=w.shape)).astype(w.dtype) for n, w in weights.items()}
    save_file(noisy, form / "model.safetensors", {"format": "pt"})
    with candidate.model.open(form) as model:
        rows = candidate.rows.dataset("evaluation", model.signature)
        return predict(model, rows, candidate.rows.task(), root / f"{name} said", batch=20)


def test_weights_that_were_rounded_a_little_pass_and_much_fail(speaker: Path) -> None:
    contract = read_contract(speaker / "gradatim.yml")
    task, rules = Rows(contract, contract).task(), contract.rules
    said = {noise: answered(speaker, f"noise {noise}", noise) for noise in (0.0, 1e-4, 0.3)}
    before = Evaluation(task, said[0.0])
    found = {noise: Evaluation(task, said[noise], before).samples("kl") for noise in said}
    assert found[0.0].value == pytest.approx(0, abs=1e-6)
    for noise, verdict in ((1e-4, Verdict.PASS), (0.3, Verdict.FAIL)):
        case = Case("original", candidate=Evaluation(task, said[noise], before), baseline=before)
        (result,) = judge(rules, case)
        assert result.verdict is verdict, result.text
        low, high = found[noise].bounds(0.05) or (0, 0)
        assert low < (found[noise].value or 0) < high


def test_another_last_digit_is_not_another_answer(speaker: Path) -> None:
    contract = read_contract(speaker / "gradatim.yml")
    task = Rows(contract, contract).task()
    before, after = (Evaluation(task, answered(speaker, f"digit {n}", n)) for n in (0.0, 1e-5))
    assert json.dumps(before.scorer.answer_arrays()[1].tolist()) != json.dumps(
        after.scorer.answer_arrays()[1].tolist()
    )
    assert Evaluation(task, after.predictions, before).samples("agreement").value == 1


@pytest.mark.parametrize("spread", [[[[5, -0.1]]], [[]], [[[5, 1000.0], [6, -1.0]]]])
def test_chances_that_say_nothing_are_refused_where_they_are_read(spread: list[object]) -> None:
    with pytest.raises(InvalidInput, match="row 3"):
        read_answer(json.dumps({"texts": ["a"], "spread": spread}), 2)
