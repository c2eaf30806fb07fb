"""lineage.json: what a training script may write, what is refused, what is masked, what evidence keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.codec import decode, encode
from gradatim.files import canonical_json, sha256_bytes
from gradatim.lineage.draft import METRICS, POINTS, POINTS_OF_ONE, LineageDraft
from gradatim.lineage.leak import leaks
from gradatim.lineage.masking import MASKED, is_secret
from gradatim.lineage.reading import Origin, find_beside, fingerprint, read_lineage
from gradatim.lineage.record import DataUsed, Lineage, LoggedMetric
from gradatim.lineage.schema import json_schema

TRAIN = sha256_bytes(b"train")
WHOLE = {
    "parameters": {
        "lr": 0.003,
        "optimizer": {"name": "adam", "betas": [0.9, 0.999]},
        "amp": True,
        "resume": None,
    },
    "data": {"train": {"sha256": TRAIN, "path": "data/train.npz"}, "validation": sha256_bytes(b"val")},
    "metrics": {"loss": [2.3, 1.1, None, 0.4], "lr": [[0, 0.003], [10, 0.001]], "val_accuracy": 0.97},
    "seed": 7,
    "commit": "5067a18536d636319b70a89a5a5a7d315a155f6b",
    "environment": {"python": "3.11.7", "torch": "2.6.0"},
    "started": "2026-01-31T12:00:00Z",
    "finished": "2026-01-31T12:09:30+00:00",
}
HERE = Origin("file", "lineage.json")


def write(folder: Path, record: Any) -> Path:
    path = folder / "lineage.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return folder


def refusal(folder: Path, record: Any) -> str:
    with pytest.raises(InvalidInput) as refused:
        read_lineage(HERE, write(folder, record))
    return str(refused.value)


def test_everything_that_training_wrote_is_kept_by_name(tmp_path):
    found = read_lineage(HERE, write(tmp_path, WHOLE))
    assert found.source == "lineage.json"
    assert found.parameters == {
        "amp": True, "lr": 0.003, "optimizer.betas": [0.9, 0.999], "optimizer.name": "adam", "resume": None,
    }  # fmt: skip
    assert found.data["train"] == DataUsed("training", TRAIN, "data/train.npz")
    assert found.data["validation"].use == "validation"
    assert found.metrics["loss"] == LoggedMetric(0.4, ((0, 2.3), (1, 1.1), (3, 0.4)), 4, 1)
    assert found.metrics["lr"].log == ((0, 0.003), (10, 0.001))
    assert found.metrics["val_accuracy"] == LoggedMetric(0.97)
    assert (found.seed, found.commit, found.environment["torch"]) == (7, WHOLE["commit"], "2.6.0")
    assert (found.started, found.finished) == ("2026-01-31T12:00:00+00:00", "2026-01-31T12:09:30+00:00")


def test_lineage_survives_the_way_through_evidence(tmp_path):
    found = read_lineage(HERE, write(tmp_path, WHOLE))
    assert decode(Lineage, json.loads(json.dumps(encode(found))), "lineage") == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrcs": {}}, "unknown field `metrcs` (did you mean `metrics`?)"),
        ({"data": {"train": {"sha": TRAIN}}}, "unknown field `data.train.sha` (did you mean `sha256`?)"),
        ({"data": {"train": "abc"}}, "not the 64 hex digits"),
        (
            {"data": {"train": {"sha256": TRAIN, "path": "/home/ada/train.npz"}}},
            "a path inside the repository",
        ),
        ({"data": {"train": {"sha256": TRAIN, "path": "../train.npz"}}}, "a path inside the repository"),
        ({"data": {"train": {"sha256": TRAIN, "use": "fun"}}}, "data.train.use"),
        ({"metrics": {"loss": "low"}}, "metrics.loss is neither a number"),
        ({"metrics": {"loss": [[1, 2, 3]]}}, "metrics.loss is neither a number"),
        ({"metrics": {"loss": True}}, "metrics.loss is neither a number"),
        ({"seed": "7"}, "`seed`"),
        ({"seed": True}, "`seed`"),
        ({"commit": "main"}, "no commit id"),
        ({"started": "yesterday"}, "is no time"),
        ({"environment": {"torch": 2}}, "environment.torch"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(tmp_path, change, said):
    assert said in refusal(tmp_path, {**WHOLE, **change})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ('{"seed": 1', "not valid JSON"),
        ('{"seed": 1, "seed": 2}', "stands twice"),
        ('{"metrics": {"loss": NaN}}', "write null"),
        ('{"metrics": {"loss": [1, 1e999]}}', "1e999 is beyond every number"),
        ("[1, 2]", "not in the format"),
        ("{}", "records nothing"),
        ("null", "not in the format"),
        ('{"metrics": null}', "`metrics`"),
        ('{"parameters": ' + '{"a":' * 40 + "1" + "}" * 40 + "}", "nested more than"),
        ('{"parameters": {"lr": ' + "9" * 5000 + "}}", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_lineage_is_refused_in_one_paragraph(tmp_path, text, said):
    told = refusal(tmp_path, text)
    assert said in told
    assert "\n" not in told


def test_the_published_schema_says_what_the_reader_takes():
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json_schema())
    assert not list(check.iter_errors(WHOLE))
    for wrong in (
        {"metrcs": {}},
        {"metrics": {"loss": "low"}},
        {"data": {"train": {"sha": TRAIN}}},
        {"seed": "7"},
    ):
        assert list(check.iter_errors({**WHOLE, **wrong}))


def test_secrets_are_masked_and_the_report_says_so(tmp_path):
    logged = {
        "hub_token": "abc", "api_key": "abc", "db": {"password": "abc"}, "awsSecretKey": "abc", "note": "ghp_" + "a1" * 20,
        "dsn": "postgres://ada:abc@db/runs", "max_tokens": 512, "pad_token": "<pad>", "tokenizer": "bert", "lr": 0.1,
    }  # fmt: skip
    found = read_lineage(HERE, write(tmp_path, {"parameters": logged}))
    masked = {name for name, value in found.parameters.items() if value == MASKED}
    assert masked == {"hub_token", "api_key", "db.password", "awsSecretKey", "note"}
    assert found.parameters["dsn"] == f"postgres://{MASKED}@db/runs"
    assert found.parameters["pad_token"] == "<pad>"  # noqa: S105
    assert all(name in found.notes[0] for name in masked)
    assert "abc" not in json.dumps(encode(found))


def test_names_and_values_that_no_file_could_hold_are_made_fit_for_evidence(tmp_path):
    found = read_lineage(
        HERE, write(tmp_path, {"parameters": {"a\ud800\nb": "c\u202ed\x00"}, "seed": 10**40})
    )
    assert found.parameters == {"a  b": "c d"}
    assert decode(Lineage, json.loads(canonical_json(encode(found))), "lineage") == found


@pytest.mark.parametrize(
    "name", ["max_new_tokens", "num_tokens", "token_dim", "secretary", "compat", "keyboard"]
)
def test_ordinary_parameters_are_no_secrets(name):
    assert not is_secret(name, "12")
    assert not is_secret(name, 12)


def test_a_huge_log_is_thinned_to_what_evidence_can_carry(tmp_path):
    steps = [[step, 1 / (step + 1)] for step in range(100_000)]
    found = read_lineage(HERE, write(tmp_path, {"metrics": {"loss": steps}}))
    log = found.metrics["loss"].log
    assert len(log) == POINTS_OF_ONE
    assert (log[0][0], log[-1][0], found.metrics["loss"].count) == (0, 99_999, 100_000)
    many = LineageDraft("many", "many")
    for name in range(2 * METRICS):
        for step in range(200):
            many.metric(f"m{name}", step, 1.0)
    kept = many.finish()
    assert len(kept.metrics) == METRICS
    assert sum(len(metric.log) for metric in kept.metrics.values()) <= POINTS
    assert f"{METRICS} of {2 * METRICS} metrics are left out" in kept.notes[0]


def test_a_training_that_ended_in_nan_is_told_and_not_hidden(tmp_path):
    found = read_lineage(HERE, write(tmp_path, {"metrics": {"loss": [1.0, 0.5, None]}}))
    assert found.diverged == ("loss",)
    assert found.metrics["loss"].value is None


def test_a_file_nobody_named_is_found_beside_the_model_then_beside_the_contract(tmp_path):
    assert find_beside(tmp_path, "model/digits.onnx") is None
    write(tmp_path, WHOLE)
    assert find_beside(tmp_path, "model/digits.onnx") == HERE
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", WHOLE)
    assert find_beside(tmp_path, "model/digits.onnx") == Origin("file", "model/lineage.json")


def test_a_link_that_leads_out_of_the_project_is_refused(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    write(tmp_path, WHOLE)
    (project / "lineage.json").symlink_to(tmp_path / "lineage.json")
    for use in (read_lineage, fingerprint):
        with pytest.raises(InvalidInput, match="outside of the project"):
            use(HERE, project)


def test_what_the_contract_names_must_be_there(tmp_path):
    with pytest.raises(InvalidInput, match=r"There is no runs/lineage\.json"):
        read_lineage(Origin("file", "runs/lineage.json"), tmp_path)


def test_the_fingerprint_changes_with_every_byte(tmp_path):
    before = fingerprint(HERE, write(tmp_path, WHOLE))
    assert fingerprint(HERE, write(tmp_path, WHOLE)) == before
    assert fingerprint(HERE, write(tmp_path, {**WHOLE, "seed": 8})) != before


@pytest.mark.parametrize(
    ("name", "used", "leaked"),
    [
        ("train", {"sha256": TRAIN}, "training"),
        ("train", {"path": "./data/test.npz"}, "training"),
        ("val", {"sha256": TRAIN}, "validation"),
        ("test", {"sha256": TRAIN}, None),
        ("extra", {"sha256": TRAIN, "use": "evaluation"}, None),
        ("train", {"sha256": sha256_bytes(b"other"), "path": "data/train.npz"}, None),
    ],
)
def test_training_on_the_evaluation_data_is_seen_by_bytes_and_by_place(tmp_path, name, used, leaked):
    found = read_lineage(HERE, write(tmp_path, {"data": {name: used}}))
    seen = leaks(found, sha256=TRAIN, path="data/test.npz")
    assert seen == ([(name, leaked)] if leaked else [])


@pytest.mark.parametrize(
    "record",
    [
        {"source": "x", "more": 1},
        {"parameters": {}},
        {"source": "x", "seed": "7"},
        {"source": "x", "data": {"train": {"use": "training", "sha256": "abc"}}},
        {"source": "x", "metrics": {"loss": {"value": "low"}}},
        {"source": "x", "metrics": {"loss": {"log": [[1]]}}},
        {"source": "x", "notes": [1]},
        [],
    ],
)
def test_a_touched_lineage_in_evidence_is_broken_evidence(record):
    with pytest.raises(BrokenEvidence):
        decode(Lineage, record, "lineage")
