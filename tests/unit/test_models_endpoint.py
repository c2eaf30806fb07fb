"""A language model behind a server that speaks OpenAI's API: what is sent again, what failed, and what it is called."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_server import (
    Asked,
    Fault,
    another_model,
    deep,
    drips,
    drips_headers,
    half,
    half_chunked,
    hangs_up,
    no_choices,
    no_json,
    serving,
    silent,
    status,
    text_for_a_choice,
)
from registry_examples import commit_file, git, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, EnvironmentLacks, GradatimError, InvalidInput, UsageError
from gradatim.gates.verdict import Verdict
from gradatim.metrics.answers import REQUEST
from gradatim.models import open_model
from gradatim.pipeline.step import run_step
from gradatim.releasing.preflight import obstacles
from gradatim.signature import Signature, TensorSpec
from gradatim.steps import evaluate

pytest.importorskip("requests")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
SETTINGS = {"max_new_tokens": 8, "temperature": 0.0, "seed": 0, "samples": 1, "wants": ["text"]}


def last_word(body: dict[str, Any]) -> str:
    return str((body.get("prompt") or body["messages"][-1]["content"]).split()[-1])


@pytest.fixture
def server() -> Iterator[Asked]:
    with serving(last_word) as asked:
        yield asked


def ask(server: Asked, rows: int = 1, timeout: float = 5.0, **said: Any) -> list[dict[str, Any]]:
    endpoint = {
        "url": server.url,
        "model": None,
        "key": None,
        "parallel": 2,
        "timeout": timeout,
        "loopback": True,
    }
    how = {key: value for key, value in said.items() if key in endpoint}
    wanted = {**SETTINGS, **{key: value for key, value in said.items() if key not in endpoint}}
    lines = [json.dumps({**wanted, "prompt": f"say {row}"}) for row in range(rows)]
    model = open_model(Path("x"), root=Path(), signature=ASKED, endpoint={**endpoint, **how})
    with model:
        return [json.loads(line) for line in model({REQUEST: np.array(lines, object)})["answer"]]


def test_each_row_gets_its_own_answer_whichever_comes_first(server: Asked) -> None:
    assert [one["texts"] for one in ask(server, 12)] == [[str(row)] for row in range(12)]
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in server.bodies} == {
        ("small", 0.0, 8)
    }
    assert server.keys == [None] * 12
    ask(server, key="abc")
    assert server.keys[-1] == "Bearer abc"


@pytest.mark.parametrize(
    "fault",
    [
        status(429, Retry_After="0"),
        status(500),
        status(503),
        half,
        half_chunked,
        no_json,
        no_choices,
        hangs_up,
        status(429, Retry_After="\xb2"),
        deep,
        text_for_a_choice,
    ],
    ids=[
        *(
            "429",
            "500",
            "503",
            "half",
            "half of chunks",
            "no json",
            "no choices",
            "hangs up",
            "no number of seconds",
        ),
        *("deep", "text for a choice"),
    ],
)
def test_what_may_pass_is_asked_again_and_nothing_is_dropped(server: Asked, fault: Fault) -> None:
    server.faults = [fault, fault]
    assert [one["texts"] for one in ask(server, 3)] == [["0"], ["1"], ["2"]]
    assert len(server.bodies) == 5


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (status(500), "HTTP 500: that is 500"),
        (drips, "in time"),
        (drips_headers, "too long"),
        (silent, "too long"),
        (half, "half an answer"),
        (no_json, "gateway"),
    ],
    ids=["500", "drips", "drips of headers", "silent", "half", "no json"],
)
def test_what_does_not_pass_is_a_row_that_failed_in_time(server: Asked, fault: Fault, told: str) -> None:
    server.faults, server.forever = [fault], True
    began = time.monotonic()
    (found,) = ask(server, timeout=0.6)
    assert told in found["error"]
    assert found["texts"] == []
    assert time.monotonic() - began < 3


def test_a_server_that_asks_for_no_pause_gets_one_all_the_same(server: Asked) -> None:
    server.faults, server.forever = [status(429, Retry_After="0")], True
    ask(server, timeout=0.6)
    assert len(server.bodies) < 10


def test_a_request_that_the_model_cannot_answer_failed_alone_and_is_not_sent_again(server: Asked) -> None:
    server.faults = [status(400)]
    found = ask(server, 3)
    assert sorted("error" in one for one in found) == [False, False, True]
    assert len(server.bodies) == 3


def test_a_server_that_fails_again_and_again_is_named_and_says_nothing_of_the_model(server: Asked) -> None:
    server.faults, server.forever = [status(502)], True
    with pytest.raises(EnvironmentLacks, match=r"127\.0\.0\.1.* times in a row, .*(HTTP 502|in time)"):
        ask(server, 40, timeout=0.5)


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (another_model, InvalidInput, "`small`, and `large` answered"),
        (status(401), EnvironmentLacks, "model.endpoint.key"),
        (status(404), EnvironmentLacks, "model.endpoint.url"),
        (status(302, Location="http://example.com"), EnvironmentLacks, "HTTP 302"),
    ],
    ids=["another model", "401", "404", "302"],
)
def test_what_no_repetition_mends_is_an_error_that_names_it(
    server: Asked, fault: Fault, kind: type[GradatimError], told: str
) -> None:
    server.faults = [fault]
    with pytest.raises(kind, match=told):
        ask(server, 3)


def test_a_model_that_is_not_served_is_refused_before_anything_is_asked(server: Asked) -> None:
    with pytest.raises(InvalidInput, match="does not serve `huge`: it has `small`"):
        ask(server, model="huge")
    with pytest.raises(EnvironmentLacks, match="refused"):
        ask(server, url="http://127.0.0.1:1/v1", timeout=0.5)
    assert not server.bodies


def test_a_server_that_tells_no_likelihood_says_so(server: Asked) -> None:
    lines = np.array([json.dumps({**SETTINGS, "prompt": "a", "target": "b", "wants": ["target"]})], object)
    endpoint = {
        "url": server.url,
        "model": None,
        "key": None,
        "parallel": 1,
        "timeout": 5.0,
        "loopback": True,
    }
    with (
        open_model(Path("x"), root=Path(), signature=ASKED, endpoint=endpoint) as model,
        pytest.raises(InvalidInput, match="how likely a given text is"),
    ):
        model({REQUEST: lines})


CONTRACT = """
model: {name: small, endpoint: {url: URL, model: small, timeout: 2 s}PATH}
data: {evaluation: test.jsonl}
task: {type: generation, scorers: [exact_match]}
benchmark: {rounds: 3}
gates: {exact_match: {at_least: 60%}}
stages: {production: {branch: main}}
"""


def project(root: Path, server: Asked, path: str = "") -> Candidate:
    new_repository(root)
    rows = [json.dumps({"prompt": f"say {row}", "label": str(row)}) for row in range(20)]
    (root / "test.jsonl").write_text("\n".join(rows))
    (root / "weights.bin").write_bytes(b"weights of some sort")
    (root / "gradatim.yml").write_text(CONTRACT.replace("URL", server.url).replace("PATH", path))
    git(root, "add", ".")
    commit_file(root, ".gitignore", b".gradatim/\n")
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")


def walk(candidate: Candidate, *further: str) -> None:
    for name in ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate", *further):
        found = run_step(name, candidate).statement
        assert found.verdict is Verdict.PASS, [found.summary, *(gate.text for gate in found.gates)]


def test_a_failed_request_is_a_row_that_failed(server: Asked, tmp_path: Path) -> None:
    candidate = project(tmp_path / "repo", server)
    server.faults = [status(400)] * 3
    found = evaluate.run(candidate)
    assert [m.value for m in found.measurements if m.name == "exact_match"] == [17 / 20]
    assert "3 requests failed" in found.summary
    assert "that is 400" in found.summary


def test_an_endpoint_without_weights_is_judged_and_never_released(server: Asked, tmp_path: Path) -> None:
    candidate = project(tmp_path / "repo", server)
    walk(candidate)
    assert any("unpinned" in str(error) for error in obstacles(candidate))
    with pytest.raises(UsageError, match=r"unpinned.*`model\.path`"):
        run_step("tag", candidate)


def test_the_identity_of_an_endpoint_is_that_of_the_weights_it_serves(server: Asked, tmp_path: Path) -> None:
    one = project(tmp_path / "one", server, ", path: weights.bin")
    other = project(tmp_path / "other", server, ", path: weights.bin")
    digest = one.forms.original.manifest.digest
    assert digest == other.forms.original.manifest.digest
    assert [entry.path for entry in one.forms.original.manifest.files] == ["weights.bin"]
    (tmp_path / "other" / "weights.bin").write_bytes(b"other weights")
    assert other.anew(same_registry=True).forms.original.manifest.digest != digest
    assert not any("unpinned" in str(error) for error in obstacles(one))


def test_a_release_is_not_asked_at_the_server_of_its_successor(server: Asked, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    candidate = project(root, server, ", path: weights.bin")
    walk(candidate, "tag")
    (root / "weights.bin").write_bytes(b"other weights")
    git(root, "add", ".")
    git(root, "commit", "-qm", "other")
    with pytest.raises(UsageError, match=r"the candidate twice.*baseline"):
        evaluate.run(candidate.anew(same_registry=False))
    with serving(lambda body: "17") as older:
        older.model = "old"
        beside = f"url: {server.url}, model: small, baseline: {{url: '{older.url}', model: old}}"
        text = (root / "gradatim.yml").read_text().replace(f"url: {server.url}, model: small", beside)
        (root / "gradatim.yml").write_text(text)
        mine = Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")
        values = {m.variant: m.value for m in evaluate.run(mine).measurements if m.name == "exact_match"}
    assert values == {"original": 1.0, "baseline": 1 / 20}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ftp://x/v1", "http"),
        ("'http://me:secret@x/v1'", "http"),
        ("{url: 'http://example.com/v1', key: SOME}", "clear text"),
    ],
)
def test_an_address_that_would_give_a_secret_away_is_refused(tmp_path: Path, said: str, told: str) -> None:
    contract = CONTRACT.replace("{url: URL, model: small, timeout: 2 s}PATH", said)
    (tmp_path / "gradatim.yml").write_text(contract)
    with pytest.raises(ContractError, match=told) as refused:
        read_contract(tmp_path / "gradatim.yml")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("was", "said", "told"),
    [
        ("gates:", "compress: {keep: {exact_match: 90%}}\ngates:", "no form that `compress` makes"),
        (
            "{type: generation, scorers: [exact_match]}",
            "{type: classification, labels: [a, b]}",
            "is asked for text",
        ),
    ],
)
def test_what_no_endpoint_can_do_is_said_at_its_line(tmp_path: Path, was: str, said: str, told: str) -> None:
    contract = CONTRACT.replace("URL", "http://127.0.0.1:1/v1").replace("PATH", ", path: w.bin")
    (tmp_path / "gradatim.yml").write_text(contract.replace(was, said, 1))
    with pytest.raises(ContractError, match=rf"yml:2:.*{told}"):
        read_contract(tmp_path / "gradatim.yml")


def test_a_likelihood_that_is_none_says_so_and_is_no_crash(server: Asked) -> None:
    choices: list[Any] = ["a"]
    server.faults = [lambda handler: handler.say(200, {"model": "small", "choices": choices})]
    server.forever = True
    (found,) = ask(server, timeout=0.4, target="b", wants=["target"])
    assert "an answer that OpenAI's API does not have" in found["error"]
    choices[:] = [{"logprobs": {"text_offset": [0], "token_logprobs": ["x"]}}]
    with pytest.raises(InvalidInput, match="how likely a given text is"):
        ask(server, timeout=0.4, target="b", wants=["target"])


@pytest.mark.parametrize(
    ("held", "sent"), [("s3cret\n", "Bearer s3cret"), ("s3\ncret", None), ("s3cr\u0119t", None)]
)
def test_a_key_that_no_header_can_carry_is_named_and_never_shown(
    server: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, sent: str | None
) -> None:
    """As a secret that was pasted with the end of its line."""
    project(tmp_path / "repo", server)
    contract = tmp_path / "repo" / "gradatim.yml"
    contract.write_text(contract.read_text().replace("timeout: 2 s", "timeout: 2 s, key: SMALL_KEY"))
    monkeypatch.setenv("SMALL_KEY", held)
    candidate = Candidate(read_contract(contract), Laptop(), "production")
    if sent is not None:
        evaluate.run(candidate)
        assert set(server.keys) == {sent}
        return
    with pytest.raises(EnvironmentLacks, match=r"yml:2.*SMALL_KEY") as refused:
        evaluate.run(candidate)
    assert "s3" not in str(refused.value)
