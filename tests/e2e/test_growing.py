"""Releases that know more, or something else, than the one before: each is read by its own released contract."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from projects.graphs import node, write_graph
from projects.growing import ANIMALS, Growing, release_two_animals, table
from projects.repository import Project
from projects.small import once


@pytest.fixture
def growing(prepared: Path, tmp_path: Path) -> Growing:
    """Apes and bees are released as v1.0.0."""
    return Growing(once(prepared, "two animals", release_two_animals), tmp_path / "growing")


def test_labels_that_grow_from_release_to_release_are_minor_versions_and_both_counts_are_said(
    growing: Growing,
) -> None:
    rows = {count: int(np.isin(table()[2], range(count)).sum()) for count in (2, 3, 4)}
    for count in (3, 4):
        growing.candidate(ANIMALS[:count])
        run = growing.run()
        assert run.code == 0, run.said
        assert run.record["tag"] == f"v1.{count - 2}.0"
        new, before = ANIMALS[count - 1], f"v1.{count - 3}.0"
        assert f"{rows[count]} samples, accuracy 100.00 %" in growing.told("evaluate")
        assert (
            f"on the {rows[count - 1]} whose label {before} knows 100.00 %, {before} 100.00 %; new: {new}"
            in growing.told("evaluate")
        )
        assert growing.gate(f"recall[class={new}]")["verdict"] == "PASS"
        assert "there is nothing to compare with" in growing.gate(f"recall[class={new}]")["text"]
        assert f"on the {rows[count - 1]} of {rows[count]} samples" in growing.gate("accuracy")["text"]
        assert "samples" in growing.gate("robustness[feature_noise]")["text"]
    assert {"v1.0.0", "v1.1.0", "v1.2.0"} <= set(growing.remote_tags())
    told = growing.call("diff", "v1.0.0", "v1.2.0").out
    assert "labels       2 -> 4: `cat`, `dog` added" in told
    assert "label `dog` added; 4 labels in place of 3" in growing.call("status").out


def test_golden_answers_of_a_release_with_fewer_labels_are_held_against_the_same_label(
    growing: Growing,
) -> None:
    growing.candidate(("cat", "ape", "bee"))
    assert growing.judged().code == 0  # `regression: strict`
    checks = growing.evidence("test")["predicate"]["details"]["checks"]
    (told,) = [check["detail"] for check in checks if check["group"] == "regression"]
    assert told == "8 golden answers as they were"


def test_the_report_of_a_release_with_a_new_label_says_both_counts_and_compares_like_with_like(
    growing: Growing,
) -> None:
    growing.candidate(ANIMALS[:3])
    assert growing.judged().code == 0
    known, every = (int(np.isin(table()[2], range(count)).sum()) for count in (2, 3))
    summary = growing.path(".gradatim/summary.md").read_text(encoding="utf-8").replace("\u202f", " ")
    assert (
        f"v1.0.0 knows 2 of the 3 labels: what is compared with it is compared on {known} of {every} samples"
        in summary
    )
    assert "New: cat." in summary
    report = growing.path(".gradatim/report.html").read_text(encoding="utf-8")
    assert "v1.0.0 knows 2 of the 3 labels" in re.sub(r"<[^>]+>", "", report)
    told = json.loads(growing.call("report", "--json").out)
    assert told["confusion"]["labels"] == ["ape", "bee", "cat"]
    assert [len(row) for row in told["confusion"]["baseline"]] == [3, 3, 3]


def test_a_second_head_is_a_minor_version_and_the_first_stays_the_answer(growing: Growing) -> None:
    growing.candidate(
        ANIMALS[:2],
        nodes=[node("MatMul", ["x", "w"], ["scores"]), node("ReduceSum", ["x"], ["total"], keepdims=0)],
        outputs=[("scores", "float32", ["batch", 2]), ("total", "float32", [])],
        task=", output: scores",
    )
    assert growing.judged().code == 0
    version, why = growing.coming()
    assert (version, why[0]) == ("v1.1.0", "output `total` added")
    assert "same behaviour on all" in why[-1]


def test_an_input_that_the_contract_fills_with_a_constant_asks_nothing_of_callers(growing: Growing) -> None:
    growing.candidate(
        ANIMALS[:2],
        nodes=[node("MatMul", ["x", "w"], ["m"]), node("Div", ["m", "temperature"], ["scores"])],
        inputs=[("temperature", "float32", [1])],
        model=", inputs: {temperature: {value: 2.0}}",
    )
    run = growing.judged()
    assert run.code == 0, run.said
    version, why = growing.coming()
    assert (version, why[0]) == ("v1.1.0", "input `temperature` added, which the contract fills with 2.0")


def test_an_input_that_the_data_feed_is_a_major_version_and_the_release_without_it_is_still_compared(
    growing: Growing,
) -> None:
    _, rows, _ = table()
    growing.candidate(
        ANIMALS[:2],
        nodes=[node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "offset"], ["scores"])],
        inputs=[("offset", "float32", ["batch", 1])],
        columns={"offset": np.zeros((len(rows), 1), np.float32)},
        regression="lenient",
    )
    run = growing.judged()
    assert run.code == 0, run.said
    version, why = growing.coming()
    assert (version, why[0]) == ("v2.0.0", "input `offset` added")
    assert "baseline 100.00 %" in growing.told("evaluate")
    assert "paired" in growing.told("benchmark")


def test_a_label_that_is_renamed_is_a_major_version_and_the_others_are_compared(growing: Growing) -> None:
    growing.candidate(ANIMALS[:2], names={"bee": "wasp"}, regression="lenient")
    run = growing.judged()
    assert run.code == 0, run.said
    version, why = growing.coming()
    assert (version, why[0]) == ("v2.0.0", "label `bee` removed or renamed")
    assert "new: wasp" in growing.told("evaluate")
    assert "gone: bee" in growing.told("evaluate")


def test_a_renamed_label_is_compared_on_every_row_where_the_contract_says_what_it_was_called(
    growing: Growing,
) -> None:
    growing.candidate(
        ANIMALS[:2],
        names={"ape": "monkey", "bee": "wasp"},
        task=", renamed: {monkey: ape, wasp: bee}",
    )
    run = growing.judged()
    assert run.code == 0, run.said
    assert growing.coming()[0] == "v2.0.0"
    assert "label `ape` renamed `monkey`" in growing.coming()[1][0]
    assert "whose label" not in growing.told("evaluate")
    assert growing.gate("recall[class=wasp]")["baseline"] == 1.0


def test_labels_that_share_no_name_with_the_release_are_refused_with_the_way_out(growing: Growing) -> None:
    growing.candidate(ANIMALS[:2], names={"ape": "monkey", "bee": "wasp"})
    run = growing.judged()
    assert run.code == 3, run.said
    assert "task: {renamed: {monkey: ape, wasp: bee}}" in run.out


def test_labels_that_moved_are_a_major_version_and_compared_by_name(growing: Growing) -> None:
    growing.candidate(("bee", "ape"))
    run = growing.judged()
    assert run.code == 0, run.said
    version, why = growing.coming()
    assert (version, why[0]) == ("v2.0.0", "labels moved to other places")
    assert "same behaviour on all" in why[-1]


def test_probabilities_that_become_logits_are_judged_right_and_break_callers(growing: Growing) -> None:
    softmax = [node("MatMul", ["x", "w"], ["m"]), node("Softmax", ["m"], ["scores"], axis=1)]
    growing.candidate(ANIMALS[:2], nodes=softmax, task=", scores: probabilities")
    run = growing.run()
    assert run.code == 0, run.said
    assert run.record["tag"] == "v2.0.0"
    growing.candidate(ANIMALS[:2], task=", scores: logits")
    assert growing.judged().code == 0
    version, why = growing.coming()
    assert version == "v3.0.0"
    assert why[0] == "scores changed from probabilities to logits"
    assert why[-1].startswith("same behaviour on all")


def test_scores_that_become_label_names_are_judged_right_and_break_callers(growing: Growing) -> None:
    growing.candidate(
        ANIMALS[:2],
        nodes=[node("MatMul", ["x", "w"], ["m"]), node("ArgMax", ["m"], ["scores"], axis=1, keepdims=0)],
        outputs=[("scores", "int64", ["batch"])],
    )
    run = growing.judged()
    assert run.code == 0, run.said
    version, why = growing.coming()
    assert (version, why[0]) == ("v2.0.0", "output `scores` changed from float32 to int64")
    assert "accuracy 100.00 %, baseline 100.00 %" in growing.told("evaluate")


def test_another_dtype_of_the_scores_is_a_major_version(growing: Growing) -> None:
    growing.candidate(
        ANIMALS[:2],
        nodes=[node("MatMul", ["x", "w"], ["m"]), node("Cast", ["m"], ["scores"], to=10)],
        outputs=[("scores", "float16", ["batch", 2])],
    )
    run = growing.judged()
    assert run.code == 0, run.said
    assert growing.coming()[0] == "v2.0.0"


def test_jobs_that_share_the_rows_of_grown_labels_come_to_the_same(growing: Growing) -> None:
    growing.candidate(ANIMALS[:3])
    assert growing.call("run", "--only", "build", "--only", "inspect", "--only", "compress").code == 0
    for step in ("evaluate", "test"):
        said = growing.call(step)
        assert said.code == 0, said.said
        whole = growing.evidence(step)["predicate"]
        for shard in ("1-of-2", "2-of-2"):
            said = growing.call(step, "--shard", shard)
            assert said.code == 0, said.said
        assert growing.call(step, "--force").code == 0
        merged = growing.evidence(step)["predicate"]
        assert merged["measurements"] == whole["measurements"]
        assert merged["details"]["summary"] == whole["details"]["summary"]


def test_a_tag_that_is_added_is_a_minor_version_and_sentences_without_it_are_compared(tmp_path: Path) -> None:
    project = Project(tmp_path)

    def candidate(tags: list[str]) -> None:
        words = np.minimum(np.arange(50) % 5, len(tags) - 1)
        write_graph(
            project.path("model.onnx"),
            [("input_ids", "int64", ["batch", "tokens"])],
            [("logits", "float32", ["batch", "tokens", len(tags)])],
            [node("Gather", ["table", "input_ids"], ["logits"])],
            {"table": np.eye(len(tags))[words] * 5},
        )
        draw = np.random.default_rng(0)
        lines = []
        for index in range(60):
            kinds = [0, int(draw.integers(1, len(tags)))] * (1 + index % 3)
            ids = [kind + 5 * int(draw.integers(10)) for kind in kinds]
            lines.append(json.dumps({"input_ids": ids, "tags": [tags[kind] for kind in kinds]}))
        project.write("data/test.jsonl", "\n".join(lines) + "\n")
        project.write(
            "gradatim.yml",
            f"""
            model: {{name: entities, path: model.onnx}}
            data: {{evaluation: data/test.jsonl, label: tags}}
            task: {{type: token_classification, labels: [{", ".join(tags)}]}}
            test: {{robustness: [token_substitution], items: 40, examples: 5, abnormal: skip}}
            gates: {{f1: {{not_worse_than: baseline, by: 60%}}}}
            benchmark: {{rounds: 3}}
            """,
        )
        project.commit()

    candidate(["O", "B-PER", "B-LOC"])
    assert project.run().code == 0
    candidate(["O", "B-PER", "B-LOC", "B-ORG"])
    run = project.run()
    assert run.code == 0, run.said
    assert run.record["tag"] == "v1.1.0"
    told = project.evidence("evaluate")["predicate"]["details"]["summary"]
    assert re.search(r"60 samples, f1 100\.00 %.* on the \d\d whose label v1\.0\.0 knows 100\.00 %", told)
    assert "new: B-ORG" in told
