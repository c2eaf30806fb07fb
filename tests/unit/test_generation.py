"""A small real language model on its way to a release: asked, scored, paired with the one that it would replace."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from registry_examples import commit_file, git, new_repository
from small_speaker import CAPITALS, question, write_questions, write_speaker

from gradatim.candidate.candidate import Candidate
from gradatim.checks.rehearsal import rehearse
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, GradatimError, InvalidInput
from gradatim.evidence.found import Evaluated, Judging
from gradatim.gates.verdict import Verdict
from gradatim.metrics.answers import REQUEST
from gradatim.metrics.diagnostics import FlippedAnswer
from gradatim.metrics.scorers.table import SCORERS
from gradatim.models import open_model
from gradatim.models.streaming import ask, timed_request
from gradatim.pipeline.step import run_step
from gradatim.report.html import render_html
from gradatim.report.markdown import render_markdown
from gradatim.report.model import Report
from gradatim.signature import Signature, TensorSpec
from gradatim.steps import evaluate
from gradatim.steps.gate import plan_gates

pytest.importorskip("transformers")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
SETTINGS = {"max_new_tokens": 8, "temperature": 0.0, "seed": 0, "samples": 1, "wants": ["text"]}
CONTRACT = """
model: {name: capitals, path: model}
data: {evaluation: test.jsonl, slices: [continent]}
task: {type: generation, scorers: [exact_match, acc, acc_norm, bits_per_byte], generation: {max_new_tokens: 4}}
gates:
  exact_match: {at_least: 80%, slices: every continent}
  acc: {at_least: 80%}
stages: {production: {branch: main}}
"""


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaker(tmp_path_factory.mktemp("speaker") / "model")


def asked(folder: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    lines = np.array([json.dumps({**SETTINGS, **request}) for request in requests], object)
    with open_model(folder, root=folder.parent, signature=ASKED) as model:
        return [json.loads(line) for line in model({REQUEST: lines})["answer"]]


def test_a_model_that_is_timed_writes_just_so_many_tokens_and_tells_when_each_was_made(speaker: Path) -> None:
    line = json.dumps({"messages": question("france"), "temperature": 0.0})  # it would end after one
    with open_model(speaker, root=speaker.parent, signature=ASKED) as model:
        found = ask(model, timed_request(line, 6, random.Random(0)))
        long = ask(model, timed_request(line, 60, random.Random(0)))
    assert (found.failed, found.tokens, len(found.times)) == ("", 6, 6)
    assert 0 < found.times[0] < found.times[-1] < found.seconds
    assert "places for 64" in long.failed


def test_a_chat_model_answers_alone_and_in_a_batch_alike(speaker: Path) -> None:
    requests = [{"messages": question(country)} for country in CAPITALS]
    together = asked(speaker, *requests)
    assert [answer["texts"] for answer in together] == [[city] for city in CAPITALS.values()]
    assert together[3:4] == asked(speaker, requests[3])
    (cut,) = asked(speaker, {"prompt": "capital of", "max_new_tokens": 1})
    assert cut["cut"] == [True]


def test_what_is_drawn_can_be_drawn_again_and_each_sample_is_another(speaker: Path) -> None:
    drawn = {"messages": question("cuba"), "temperature": 3.0, "samples": 6, "seed": 1}
    first, again, other = asked(speaker, drawn, drawn, {**drawn, "seed": 2})
    assert first == again != other
    assert len(set(first["texts"])) > 1


def test_a_text_ends_at_a_stop_and_is_no_longer_cut(speaker: Path) -> None:
    (whole,) = asked(speaker, {"prompt": "user capital of peru ? assistant", "max_new_tokens": 3})
    word = whole["texts"][0].split()[-1]
    (ended,) = asked(
        speaker, {"prompt": "user capital of peru ? assistant", "max_new_tokens": 3, "stop": [word]}
    )
    assert (ended["cut"], ended["texts"]) == ([False], [whole["texts"][0][: whole["texts"][0].index(word)]])


def test_a_prompt_longer_than_the_model_is_an_answer_that_failed(speaker: Path) -> None:
    (found,) = asked(speaker, {"prompt": "capital " * 70})
    assert "64" in found["error"]


def test_the_likelihood_of_a_text_is_the_networks_own(speaker: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wants = {"wants": ["choices", "target"], "choices": [" rome", " oslo"], "target": " rome"}
    (found,) = asked(speaker, {"messages": question("italy"), **wants})
    tokenizer, model = AutoTokenizer.from_pretrained(speaker), AutoModelForCausalLM.from_pretrained(speaker)
    text = tokenizer.apply_chat_template(question("italy"), tokenize=False, add_generation_prompt=True)
    tokens = tokenizer(text + " rome", add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        wanted = float(model(input_ids=tokens).logits[0, -2].log_softmax(-1)[tokens[0, -1]])
    assert found["choices"][0] == pytest.approx(wanted, abs=1e-5)
    assert found["target"] == [pytest.approx(wanted, abs=1e-5), 5]
    assert found["choices"][0] > found["choices"][1]


def test_conversations_without_a_chat_template_are_refused(tmp_path: Path) -> None:
    folder = write_speaker(tmp_path / "model", steps=0, template=None)
    with pytest.raises(InvalidInput, match="no chat template"):
        asked(folder, {"messages": question("peru")})


def test_what_generates_no_text_is_refused(tmp_path: Path) -> None:
    from small_transformer import write_bert

    write_bert(tmp_path / "bert")
    with pytest.raises(InvalidInput, match="generates no text"):
        asked(tmp_path / "bert", {"prompt": "x"})


def project(root: Path, contract: str, model: Path | None) -> Candidate:
    new_repository(root)
    if model is not None:
        (root / "model").mkdir()
        for file in model.iterdir():
            (root / "model" / file.name).write_bytes(file.read_bytes())
    (root / "speaking.py").write_text(FUNCTION)
    write_questions(root / "test.jsonl")
    (root / "gradatim.yml").write_text(contract)
    git(root, "add", ".")
    commit_file(root, ".gitignore", b".gradatim/\n__pycache__/\n")
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")


def values(candidate: Candidate) -> dict[str, float | None]:
    found = evaluate.run(candidate).measurements
    return {m.name + (f"[{m.where}]" if m.where else ""): m.value for m in found if m.variant == "original"}


def test_a_chat_model_is_evaluated(speaker: Path, tmp_path: Path) -> None:
    found = values(project(tmp_path / "repo", CONTRACT, speaker))
    assert found["exact_match"] == found["exact_match[continent=europe]"] == found["acc"] == 1.0
    assert (found["bits_per_byte"] or 0) > 0


FUNCTION = """
import json
import numpy as np

KNOWN = {"france": "paris", "spain": "madrid", "italy": "rome", "japan": "tokyo", "egypt": "cairo"}


def make():
    def answer(inputs):
        asked = [json.loads(line) for line in inputs["request"]]
        words = [request["messages"][-1]["content"].split()[2] for request in asked]
        return {"text": np.array([KNOWN.get(word, "?") for word in words], object)}

    return answer


def polite(references, answers):
    return [answer != "?" for answer in answers]


def right(questions, first, second):
    said = [[answer in question["references"] for answer in pair] for question, *pair in zip(questions, first, second)]
    return ["tie" if one == other else "first" if one else "second" for one, other in said]
"""
OF_A_FUNCTION = """
model: {name: capitals, factory: "speaking:make"}
data: {evaluation: test.jsonl, slices: [continent]}
task:
  type: generation
  scorers: {match: {by: normalised_match}, polite: "speaking:polite"}
  generation: {max_new_tokens: 4, shots: [{prompt: "capital of chad ?", answer: ndjamena}]}
gates:
  match: {at_least: 15%, slices: every continent}
  polite: {at_least: 30%}
stages: {production: {branch: main}}
"""


def test_a_function_that_answers_is_released_like_any_model(tmp_path: Path) -> None:
    candidate = project(tmp_path / "repo", OF_A_FUNCTION, None)
    for step in ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate"):
        found = run_step(step, candidate).statement
        assert found.verdict is Verdict.PASS, [gate.text for gate in found.gates]
    assert {gate.gate for gate in found.gates} >= {"match", "match[continent=europe]", "polite"}


def test_the_way_of_asking_is_part_of_what_evidence_rests_on(tmp_path: Path) -> None:
    candidate = project(tmp_path / "repo", OF_A_FUNCTION, None)
    before = evaluate.depends_on(candidate)
    (candidate.root / "gradatim.yml").write_text(
        OF_A_FUNCTION.replace("max_new_tokens: 4", "max_new_tokens: 5")
    )
    after = evaluate.depends_on(
        Candidate(read_contract(candidate.root / "gradatim.yml"), Laptop(), "production")
    )
    assert before["contract"] != after["contract"]
    (candidate.root / "speaking.py").write_text(FUNCTION.replace('!= "?"', '!= "!"'))
    assert evaluate.depends_on(candidate.anew(same_registry=True))["code"] != before["code"]


@pytest.mark.parametrize(
    ("task", "match"),
    [
        ("generation", "needs `scorers`"),
        ("{type: generation, scorers: [exact_mach]}", "no scorer `exact_mach`"),
        ("{type: classification, scorers: [exact_match]}", "no other task"),
        ("{type: generation, scorers: {pass_at_5: {by: exact_match}}}", "samples: 5"),
        ("{type: generation, scorers: [wer], generation: {top_k: 3}}", "temperature"),
        ("{type: generation, scorers: {regex_match: {regex: '('}}}", "regular expression"),
    ],
)
def test_a_contract_that_asks_for_nonsense_is_refused_by_its_line(
    task: str, match: str, tmp_path: Path
) -> None:
    (tmp_path / "gradatim.yml").write_text(
        f"model: {{name: a, path: m}}\ndata: {{evaluation: t.jsonl}}\ntask: {task}\n"
    )
    with pytest.raises(ContractError, match=match) as refused:
        read_contract(tmp_path / "gradatim.yml")
    assert ":3:" in str(refused.value)


def test_a_gate_on_a_scorer_that_is_not_asked_for_is_refused(tmp_path: Path) -> None:
    text = OF_A_FUNCTION.replace("polite: {at_least", "bleu: {at_least")
    (tmp_path / "gradatim.yml").write_text(text)
    with pytest.raises(ContractError, match="unknown gate `bleu`"):
        read_contract(tmp_path / "gradatim.yml")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"text": "x", "label": "y"}, "no column `prompt`"),
        ({"prompt": "x", "messages": [], "label": "y"}, "which one"),
        ({"messages": "hello", "label": "y"}, "Row 1 .*list of turns"),
        ({"messages": [{"role": "robot", "content": "x"}], "label": "y"}, "Row 1 .*role"),
        ({"prompt": 3, "label": "y"}, "Row 1 .*no text"),
        ({"prompt": "x", "choices": ["one"], "label": "y"}, "two texts"),
    ],
)
def test_rows_that_ask_nothing_are_refused_by_their_number(
    row: dict[str, Any], match: str, tmp_path: Path
) -> None:
    candidate = project(
        tmp_path / "repo",
        OF_A_FUNCTION.replace(", slices: [continent]", "").replace(", slices: every continent", ""),
        None,
    )
    (candidate.root / "test.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InvalidInput, match=match):
        list(candidate.rows.dataset("evaluation", ASKED).batches(2))


def test_the_plan_says_what_so_many_prompts_can_prove(tmp_path: Path) -> None:
    candidate = project(tmp_path / "repo", OF_A_FUNCTION.replace("at_least: 15%", "at_least: 95%"), None)
    (row,) = [row for row in plan_gates(candidate) if row.gate == "match"]
    assert row.least is not None
    assert row.least > 40


def test_answers_that_flipped_stand_side_by_side_where_the_contract_shows_them(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    candidate = project(root, f"{OF_A_FUNCTION}benchmark: {{rounds: 3}}\n", None)
    for step in ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate", "tag"):
        assert run_step(step, candidate).statement.verdict is Verdict.PASS
    (root / "speaking.py").write_text(FUNCTION.replace('"madrid"', '"seville"').replace('"rome"', '"milan"'))
    judged = OF_A_FUNCTION.replace("  generation:", '  judge: "speaking:right"\n  generation:')
    (root / "gradatim.yml").write_text(f"{judged}evaluate: {{show: 3}}\n")
    git(root, "commit", "-qam", "worse")
    outcome = evaluate.run(Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production"))
    found, measured = outcome.found, {m.label: m.value for m in outcome.measurements}
    assert isinstance(found, Evaluated)
    assert found.judging == Judging("speaking:right", None)
    assert measured["win_rate"] == (measured["win_rate[continent=europe]"] or 0) * 0.5 + 0.25 == 0.4
    assert len(found.flipped) == 3
    first = found.flipped[0]
    assert first == FlippedAnswer("capital of spain ?", "madrid", "madrid", "seville", lost=True)
    nobody = "gradatim.yml:7: `speaking:nobody`"
    (root / "gradatim.yml").write_text(judged.replace("speaking:right", "speaking:nobody"))
    lacking = Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")
    (obstacle,) = rehearse(lacking)
    assert str(obstacle.error).startswith(nobody)
    for folder in (root / ".gradatim/predictions").iterdir():
        shutil.rmtree(folder)
    with pytest.raises(InvalidInput, match=nobody):
        evaluate.run(lacking)
    assert not [*(root / ".gradatim/predictions").iterdir()]  # before any model is asked
    gates = "  match: {at_least: 15%, sequential: true}\n"
    before, _, after = OF_A_FUNCTION.partition("  match: {at_least")
    looked = f"{before}{gates}stages{after.partition('stages')[2]}evaluate: {{show: 3}}\n"
    (root / "gradatim.yml").write_text(looked)
    found = evaluate.run(Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")).found
    assert isinstance(found, Evaluated)
    lost = {("capital of spain ?", "madrid"), ("capital of italy ?", "rome")}
    assert {
        (one.prompt, one.before) for one in found.flipped
    } <= lost  # in whatever order rows were looked at
    assert len(found.flipped) == 3
    report = Report("capitals", Verdict.FAIL, flipped=found.flipped)
    for shown in (render_markdown(report), render_html(report)):
        assert "capital of spain ?" in shown
        assert "seville" in shown


def test_a_prompt_that_is_too_long_fails_alone_and_not_with_its_batch(speaker: Path) -> None:
    short = {"messages": question("peru")}
    long, found = asked(speaker, {"messages": [{"role": "user", "content": "capital " * 70}]}, short)
    assert "64" in long["error"]
    assert found["texts"] == ["lima"]


ANSWERS = """
import json
import numpy as np


def make():
    def answer(inputs):
        asked = [json.loads(line) for line in inputs["request"]]
        said = [{"texts": ["a cat"], "choices": [-1.0, -2.0], "target": [-1.0, 5]} for one in asked]
        return {"answer": np.array([json.dumps(one) for one in said], object)}

    return answer
"""
ROW: dict[str, Any] = {"prompt": "x", "label": "a cat", "choices": ["a cat", "a dog"]}
NEEDED = {"regex_match": "regex: 'a .*'"}
SENSELESS = {"json_valid": "json_schema: {type: nothing}", "regex_match": "regex: '('"}


def scored(root: Path, scorer: str, setting: str, *rows: dict[str, Any]) -> Any:
    root.mkdir()
    (root / "m.py").write_text(ANSWERS)
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "gradatim.yml").write_text(
        "model: {name: a, factory: 'm:make'}\ndata: {evaluation: t.jsonl}\ntask:\n  type: generation\n  scorers:\n"
        f"    {scorer}: {{{setting}}}\nstages: {{production: {{branch: main}}}}\n"
    )
    new_repository(root / "git")
    (root / "git/.git").rename(root / ".git")
    return evaluate.run(Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production"))


@pytest.mark.parametrize("scorer", SCORERS)
def test_each_scorers_mistakes_end_in_a_paragraph_that_names_their_place(scorer: str, tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    needed, free = NEEDED.get(scorer, ""), scorer == "json_valid"  # it needs no references
    assert scored(tmp_path / "right", scorer, needed, ROW, ROW).measurements
    mistakes: dict[str, tuple[str, tuple[dict[str, Any], ...], str]] = {
        "a setting that makes no sense": (
            SENSELESS.get(scorer, "take: middle"),
            (ROW,),
            r"gradatim\.yml:6:",
        ),
        "a setting of another scorer": (
            "words: [a], regex: b, json_schema: {}",
            (ROW,),
            r"gradatim\.yml:6:\d+: .*does not take",
        ),
    }
    if not free:
        lacking = ({"prompt": "x", "choices": ROW["choices"]},)
        mistakes |= {
            "no references": (needed, lacking, r"gradatim\.yml:2: .*`data.label` names their column"),
            "a row without one": (needed, (ROW, {**ROW, "label": []}), r"^Row 2 of .*t\.jsonl: "),
        }
    if scorer not in (
        "exact_match",
        "normalised_match",
        "regex_match",
        "json_valid",
        "imported",
        "bits_per_byte",
    ):
        mistakes["an empty one"] = (needed, (ROW, ROW, {**ROW, "label": " "}), r"^Row 3 of .*t\.jsonl: ")
    for place, (name, (setting, rows, match)) in enumerate(mistakes.items()):
        with pytest.raises(GradatimError, match=match) as refused:
            pytest.fail(f"{name}: {scored(tmp_path / str(place), scorer, setting, *rows).measurements}")
        assert "\n" not in str(refused.value)
