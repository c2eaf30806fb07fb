"""A canary on live traffic goes forward on proof alone, back on proof alone, and on nothing else."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_stand_in import Fleet, Version, serving
from registry_examples import act_as_ada, commit_file, new_repository, release_files

from gradatim.checks import live
from gradatim.checks.live import Glance, Progression, alpha_to_refuse, look_at, plan_of, progression_of, walk
from gradatim.checks.prometheus import Prometheus, Series, Unbelievable
from gradatim.cli import cli
from gradatim.gates import wording
from gradatim.gates.rule import Rule
from gradatim.gates.sequential import difference_bounds, quantile_between, requests_that_tell, share_bounds
from gradatim.gates.verdict import Verdict
from gradatim.registry.tagging import announce
from gradatim.subversion import checkout

ERRORS = Rule("errors", "errors", "not_worse", 0.01)
P95 = Rule("latency_p95", "latency_p95", "at_most", 0.25)
OLD, NEW = "v1.0.0", "v1.1.0"


def canary(
    fleet: Fleet,
    record: Path,
    *,
    rules: Sequence[Rule] = (ERRORS, P95),
    looks: int = 60,
    series: Series | None = None,
) -> tuple[Progression, list[Glance]]:
    """Walk a fleet: a look every 5 minutes of its own clock."""
    seen: list[Glance] = []
    left = iter(range(looks))

    def wait() -> bool:
        fleet.run(300)
        return next(left, None) is not None

    def shift(percent: int) -> None:
        fleet.percent = percent

    with serving(fleet) as address:
        server = Prometheus(address)
        ended = walk(
            progression_of(record, OLD, NEW),
            lambda at: look_at(server, series or Series(), rules, at),
            clock=server.now, shift=shift, wait=wait, record=record, show=seen.append,
        )  # fmt: skip
    return ended, seen


def fleet_of(new: Version, *, fault: str = "", old: Version | None = None) -> Fleet:
    fleet = Fleet({OLD: old or Version(), NEW: new}, NEW, fault=fault)
    fleet.run(300)
    return fleet


def test_a_good_candidate_gets_all_of_the_traffic_step_by_step(tmp_path: Path) -> None:
    fleet = fleet_of(Version())
    ended, looks = canary(fleet, tmp_path / "r.json")
    assert (ended.verdict, fleet.percent) == ("PASS", 100)
    assert [look.percent for look in looks if look.verdict is Verdict.PASS] == [5, 25, 50, 100]
    for look in looks:
        assert look.requests
        for result in look.results:
            assert result.threshold is not None
            assert f"{look.requests} requests; wanted" in result.text


@pytest.mark.parametrize("points", [2, 3])
def test_two_points_more_errors_are_caught_within_what_the_plan_says(points: int, tmp_path: Path) -> None:
    fleet = fleet_of(Version(errors=0.01 + points / 100))
    ended, looks = canary(fleet, tmp_path / "r.json", rules=[ERRORS])
    assert ended.verdict == "FAIL"
    assert "errors" in ended.why[0]
    assert "wanted not worse than the baseline by more than 1 point" in ended.why[0]
    planned = requests_that_tell(0.01, points / 100, 0.01, alpha_to_refuse(1, 0))
    assert planned is not None
    assert looks[-1].requests <= planned
    (said,) = plan_of([ERRORS])
    assert f"about {wording.about(planned)} refuse one that fails {points} points more" in said


def test_a_canary_that_was_broken_stays_so_whoever_looks_again(tmp_path: Path) -> None:
    ended, _ = canary(fleet_of(Version(errors=0.2)), tmp_path / "r.json")
    again, looks = canary(fleet_of(Version()), tmp_path / "r.json")
    assert again == ended
    assert looks == []


def test_outliers_in_seven_of_ten_requests_are_no_noise(tmp_path: Path) -> None:
    slow = Version(buckets=(0.2, 0.09, 0.01, 0.0, 0.0, 0.7))
    ended, _ = canary(fleet_of(slow), tmp_path / "r.json")
    assert ended.verdict == "FAIL"
    assert "latency_p95" in ended.why[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "a metric that is missing never passes"),
        ("no traffic", "counted no request"),
        ("stale", "stale samples never pass"),
        ("failed", "out of memory"),
        ("partial", "a store did not answer"),
        ("nan", "numbers that no counter can hold"),
    ],
)
def test_samples_that_say_nothing_never_pass_and_never_roll_back(
    fault: str, words: str, tmp_path: Path
) -> None:
    ended, looks = canary(fleet_of(Version(), fault=fault), tmp_path / "r.json", looks=8)
    assert ended.verdict == "INCONCLUSIVE"
    assert not any(look.verdict in (Verdict.PASS, Verdict.FAIL) and look.percent == 100 for look in looks)
    assert words in looks[-1].text


def test_a_matcher_of_failures_that_matches_no_label_never_passes(tmp_path: Path) -> None:
    wrong = Series(failed='status=~"5.."')
    ended, looks = canary(fleet_of(Version()), tmp_path / "r.json", looks=5, series=wrong)
    assert ended.verdict == "INCONCLUSIVE"
    assert "has the label `status`" in looks[-1].text


def test_a_server_that_is_not_there_never_passes(tmp_path: Path) -> None:
    seen: list[Glance] = []
    server = Prometheus("http://127.0.0.1:9")
    ended = walk(
        Progression(OLD, NEW), lambda at: look_at(server, Series(), [ERRORS], at), clock=server.now,
        shift=lambda percent: None, wait=lambda: False, record=tmp_path / "r.json", show=seen.append,
    )  # fmt: skip
    assert ended.verdict == "INCONCLUSIVE"
    assert "did not answer" in seen[-1].text


def test_a_counter_that_was_reset_begins_its_step_anew(tmp_path: Path) -> None:
    fleet = fleet_of(Version())
    canary(fleet, tmp_path / "r.json", looks=2)
    before = progression_of(tmp_path / "r.json", OLD, NEW)
    fleet.restart(NEW)
    ended, looks = canary(fleet, tmp_path / "r.json", looks=1)
    after = progression_of(tmp_path / "r.json", OLD, NEW)
    assert (after.step, after.attempt) == (before.step, before.attempt + 1)
    assert not any(look.verdict is Verdict.PASS for look in looks)
    assert ended.verdict == "INCONCLUSIVE"
    assert canary(fleet, tmp_path / "r.json")[0].verdict == "PASS"


def test_a_controller_that_was_lost_goes_on_from_its_record(tmp_path: Path) -> None:
    fleet = fleet_of(Version())
    stood: list[tuple[int, int]] = []
    for _ in range(30):  # every look by another controller
        ended, looks = canary(fleet, tmp_path / "r.json", looks=0 if stood else 1)
        stood += [(look.percent, look.requests) for look in looks]
        if ended.verdict == "PASS":
            break
        fleet.run(300)
    assert ended.verdict == "PASS"
    assert [percent for percent, _ in stood] == sorted(percent for percent, _ in stood)
    assert {percent for percent, _ in stood} == {5, 25, 50, 100}
    first = [requests for percent, requests in stood if percent == 5]
    assert len(first) > 1
    assert first == sorted(first)  # the same minutes count on


def test_a_record_that_is_broken_or_of_others_begins_anew(tmp_path: Path) -> None:
    record = tmp_path / "r.json"
    for text in ("", "{", "[]", '{"baseline": "a", "candidate": "b", "step": 99, "why": []}'):
        record.write_text(text)
        assert progression_of(record, OLD, NEW) == Progression(OLD, NEW)


def test_at_most_one_in_a_hundred_good_canaries_is_rolled_back() -> None:
    """200 canaries of each kind, 40 looks at each of three steps: as good as the release, and at the very margin."""
    dice = np.random.default_rng(11)
    for errors, base in ((0.01, 0.01), (0.02, 0.01), (0.06, 0.05)):
        broken = np.zeros(200, bool)
        for percent in (5, 25, 50):
            mine = dice.poisson(30 * percent, (200, 40)).cumsum(axis=1)
            theirs = dice.poisson(30 * (100 - percent), (200, 40)).cumsum(axis=1)
            failed = _failures(dice, mine, errors)
            base_failed = _failures(dice, theirs, base)
            low, _ = difference_bounds((failed, mine), (base_failed, theirs), alpha_to_refuse(2, 0))
            broken |= (low > 0.01).any(axis=1)
        assert broken.mean() <= live.FALSE_ROLLBACKS


def _failures(dice: np.random.Generator, n: Any, share: float) -> Any:
    steps = np.diff(n, axis=1, prepend=0)
    return dice.binomial(steps, share).cumsum(axis=1)


def test_bounds_hold_at_all_looks_together() -> None:
    dice = np.random.default_rng(3)
    looks = np.arange(10, 2010, 10)
    for share in (0.005, 0.1, 0.95):
        hits = dice.binomial(10, share, (400, 200)).cumsum(axis=1)
        low, high = share_bounds(hits, looks, 0.1)
        missed = ((low > share) | (high < share)).any(axis=1)
        assert missed.mean() <= 0.1
    assert share_bounds(0, 0, 0.05) == (0, 1)


def test_a_quantile_lies_between_the_ends_of_buckets() -> None:
    below = {0.05: 600, 0.1: 900, 0.25: 980, 0.5: 1000, float("inf"): 1000}
    assert quantile_between({end: 100 * n for end, n in below.items()}, 0.95, 0.05) == (0.1, 0.25)
    assert quantile_between(below, 0.9, 0.05)[0] <= 0.1 <= quantile_between(below, 0.9, 0.05)[1]
    assert quantile_between({0.1: 0, float("inf"): 0}, 0.5, 0.05) == (0.0, float("inf"))


CONTRACT = """
model: {name: digits, path: model.onnx}
canary: {errors: {not_worse_than: baseline, by: 1%}}
stages: {production: {branch: main}}
"""


def test_a_bad_canary_is_rolled_back_in_the_registry_and_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_ada(monkeypatch)
    root = new_repository(tmp_path / "repo")
    monkeypatch.chdir(root)
    commit_file(root, ".gitignore", b".gradatim/\nshifts\n")
    commit_file(root, "gradatim.yml", CONTRACT.encode())
    for version, data in ((OLD, b"one"), (NEW, b"two")):
        commit_file(root, "model/digits.onnx", data)
        files = release_files(root, version, data)
        announce(checkout.open(root), files.record, files.manifest, files.kept)
    fleet = fleet_of(Version(errors=0.2))
    fleet.percent = 5
    with serving(fleet, passes=300) as address:
        done = CliRunner().invoke(
            cli,
            [
                "canary",
                "--prometheus",
                address,
                "--every",
                "0.1",
                "--json",
                "--shift",
                "sh -c 'echo {percent} >> shifts'",
            ],
            standalone_mode=False,
        )
    assert done.return_value == 1, (done.output, done.exception)
    told = json.loads(done.stdout)
    assert told["verdict"] == "FAIL"
    assert "production is back at v1.0.0" in told["rolled_back"]
    assert Path("shifts").read_text().split() == ["5", "0"]
    status = json.loads(CliRunner().invoke(cli, ["status", "--json"]).stdout)
    assert "v1.0.0" in json.dumps(status)
    history = CliRunner().invoke(cli, ["history"]).output
    assert "canary at 5 %: errors" in history
    again = CliRunner().invoke(cli, ["canary", "--prometheus", address], standalone_mode=False)
    assert "was put back to an earlier release. Name the candidate" in str(again.exception)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus")
def test_a_real_prometheus_tells_what_was_counted(tmp_path: Path) -> None:
    began = time.time()

    class Exporter(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            n = int(100 * (time.time() - began))
            lines = [
                f'http_requests_total{{version="{name}",code="{code}"}} {n * part}'
                for name in (OLD, NEW)
                for code, part in (("200", 9), ("500", 1))
            ]
            lines += [
                f'http_request_duration_seconds_bucket{{version="{name}",le="{end}"}} {n * part}'
                for name in (OLD, NEW)
                for end, part in (("0.1", 5), ("0.25", 10), ("+Inf", 10))
            ]
            body = ("\n".join(lines) + "\n").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as exporter:
        threading.Thread(target=exporter.serve_forever, daemon=True).start()
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [
            {"job_name": "served", "static_configs": [{"targets": [f"127.0.0.1:{exporter.server_port}"]}]}]}  # fmt: skip
        (tmp_path / "p.yml").write_text(json.dumps(config))
        words = [
            "prometheus",
            f"--config.file={tmp_path / 'p.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                server = Prometheus(f"http://127.0.0.1:{port}")
                for _ in range(80):
                    with contextlib.suppress(Unbelievable):
                        found = server.counted(Series(), NEW, began - 10, server.now(), latency=True)
                        if found.requests > 2000:
                            break
                    time.sleep(0.1)
                assert 0.05 < found.failed / found.requests < 0.15
                assert found.below[0.1] == found.below[float("inf")] / 2
                with pytest.raises(Unbelievable, match="a metric that is missing never passes"):
                    server.counted(Series(requests="other_total"), NEW, began, server.now(), latency=False)
                exporter.shutdown()
                time.sleep(2)
                with pytest.raises(Unbelievable, match="stale samples never pass"):
                    Prometheus(f"http://127.0.0.1:{port}", max_age=1).counted(
                        Series(), NEW, began, server.now(), latency=False
                    )
            finally:
                process.terminate()
