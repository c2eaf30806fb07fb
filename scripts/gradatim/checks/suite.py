"""The stability checks of a release: every variant, the baseline beside it, and the user's own tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL, Variant
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.candidate.sharding import Part, elsewhere
from gradatim.checks.abnormal import SECONDS, abnormal_checks
from gradatim.checks.behaviour import self_flips, unit_checks
from gradatim.checks.check import GROUPS, failed
from gradatim.checks.comparison import Allowance
from gradatim.checks.direct import direct_inputs
from gradatim.checks.flow import integration_check, performance_check
from gradatim.checks.golden import (
    golden_check,
    golden_rows,
    read_cases,
    read_contract_case,
    regression_check,
    write_cases,
)
from gradatim.checks.robustness import robustness, work
from gradatim.checks.robustness_scores import losses_in_words, measurements, save_scores
from gradatim.checks.user_tests import run_user_tests
from gradatim.data import Dataset
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Check, Corrupted, Tested
from gradatim.files import write_text
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.answers import REQUEST
from gradatim.models import Predictor
from gradatim.perturb.catalogue import SEVERITIES
from gradatim.progress import Advance, about
from gradatim.report.junit import render_junit
from gradatim.report.model import Report

_ROWS, _PROMPTS = 32, 4
"""Rows that the unit checks run over; a language model takes seconds for one."""

_CALLS = 50
"""About as many calls as these checks make of one form, where a call of few rows takes as long as one of many."""

_NAMED = 3
"""Failed checks that a refusal names; the report lists all."""

Inputs = dict[str, Any]


def check_release(candidate: Candidate, shards: Sequence[Part] = ()) -> Outcome:
    """Check every variant; corrupt the evaluation data for all of them and the baseline; run the user's own tests.

    Args:
        shards: what jobs left that shared the corrupted rows; without them every row is corrupted here.
    """
    variants = candidate.forms.all
    settings = candidate.contract.parts.test
    baseline = candidate.replaced.path
    checks: list[Check] = []
    found: list[Measurement] = []
    outputs: list[Path] = []
    gates: list[GateResult] = []
    mute: set[str] = set()
    models = len(variants) + (baseline is not None)
    with candidate.progress.task("test", 2 * len(variants) + work(candidate, models)) as advance:
        for variant in variants:
            own, measured = _behaviour(candidate, variant, advance)
            mute |= {variant.name} if any(check.name == "answers" for check in failed(own)) else set()
            gates += _gates(candidate, variant.name, own)
            checks += own if len(variants) == 1 else [check.of(variant.name) for check in own]
            found += measured
        able = tuple(variant for variant in variants if variant.name not in mute)
        paths = {variant.name: variant.path for variant in able}
        paths |= {BASELINE: baseline} if baseline and able else {}
        robust = robustness(candidate, paths, shards, advance)
        for name, own in robust.checks.items():
            # what the baseline cannot do is no fault of the candidate's: it is shown, and the gates miss its scores
            own = [replace(check, verdict=Verdict.PASS) for check in own] if name == BASELINE else own
            gates += _gates(candidate, name, own)
            checks += [check.of(name) for check in own]
        for name, scores in robust.scores.items():
            found += measurements(name, scores)
            outputs.append(save_scores(candidate.workspace, name, scores))
        for variant in variants if settings.pytest else ():
            advance(0, f"{variant.name}, your own tests")
            own = run_user_tests(
                settings.pytest,
                contract=candidate.contract.path,
                top=candidate.top,
                model=variant.path,
                baseline=baseline,
                device=candidate.device("test"),
                timeout=settings.timeout,
                log=candidate.workspace.test_log(variant.name),
            )
            gates += _gates(candidate, variant.name, own)
            checks += own if len(variants) == 1 else [check.of(variant.name) for check in own]
        outputs += _golden_of_this(candidate, able[0]) if able else ()
    preferred = robust.scores.get(able[0].name) if able else None
    worse = (
        losses_in_words(preferred, robust.scores[BASELINE]) if preferred and BASELINE in robust.scores else ()
    )
    verdict = _best(gates, variants)
    done = robust.done(settings.robustness)
    checks.sort(key=lambda check: GROUPS.index(check.group))
    outputs.append(_junit(candidate, verdict, checks))
    return Outcome(
        _summary(checks, done, settings.robustness if robust.scores else (), worse),
        {variant.name: variant.manifest.digest for variant in variants},
        verdict,
        tuple(found),
        tuple(gates),
        Tested(
            tuple(checks),
            Corrupted(
                done,
                len(next(iter(robust.scores.values())).items) if robust.scores else 0,
                worse,
            ),
        ),
        tuple(outputs),
        elsewhere(shards),
    )


def _best(gates: list[GateResult], variants: tuple[Variant, ...]) -> Verdict:
    """The verdict of the variant that behaves best: one that behaves is enough for a release."""
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.INVALID]
    by_variant = [Verdict.worst(gate.verdict for gate in gates if gate.variant == v.name) for v in variants]
    return min(by_variant, key=order.index)


def _behaviour(
    candidate: Candidate, variant: Variant, advance: Advance
) -> tuple[list[Check], list[Measurement]]:
    """The checks of one variant."""
    settings = candidate.contract.parts.test
    task = candidate.rows.task() if candidate.contract.parts.task else None
    tolerance = settings.tolerance
    share = 0.0 if variant.name == ORIGINAL else tolerance.compressed
    allowance = Allowance(tolerance.absolute, tolerance.relative, share)
    checks: list[Check] = []
    found: list[Measurement] = []
    with candidate.model.open(variant.path) as predictor:
        if settings.golden:
            checks.append(golden_check(predictor, candidate.root / settings.golden, allowance))
        dataset, inputs = _ordinary(candidate, predictor)
        if inputs is None:
            return checks, found
        advance(1, variant.name)

        def told(seconds: float) -> None:
            advance(0, about(_CALLS * seconds * len(candidate.forms.all)))

        checks += unit_checks(predictor, inputs, allowance, task, told)
        if failed(checks) and checks[-1].name == "answers":
            return checks, found
        if task and (flips := self_flips(predictor, inputs, task)) is not None:
            found.append(
                Measurement("self_flips", variant.name, flips[0] / flips[1], n=flips[1], successes=flips[0])
            )
        if dataset is not None and task is not None:
            checks.append(integration_check(dataset, predictor, task))
        if settings.slowest is not None:
            rows = dataset.head(candidate.contract.parts.data.batch).inputs if dataset else inputs
            checks.append(performance_check(predictor, rows, settings.slowest))
        for golden in candidate.replaced.golden:
            before, cases = candidate.replaced.task_of_golden(golden), read_cases(golden.path)
            strict = settings.regression == "strict"
            name = golden.path.stem
            checks.append(regression_check(predictor, name, cases, allowance, task, strict, before=before))
        example = direct_inputs(predictor, inputs) if settings.abnormal != "skip" else {}
    if settings.abnormal != "skip":
        advance(1, f"{variant.name}, abnormal inputs")
        checks += abnormal_checks(
            candidate.model.contestant(variant.name, variant.path),
            example,
            strict=settings.abnormal == "strict",
            seconds=min(SECONDS, candidate.contract.parts.model.limits.call),
            known=settings.known_failures,
        )
    return checks, found


def _ordinary(candidate: Candidate, predictor: Predictor) -> tuple[Dataset | None, Inputs | None]:
    """Rows that the model is made for: of the evaluation data, else of the golden file; None where there are none."""
    settings = candidate.contract.parts.test
    if candidate.contract.data_set("evaluation") is not None:
        dataset = candidate.rows.dataset("evaluation", predictor.signature)
        speaks = predictor.signature.input(REQUEST) is not None
        return dataset, dict(dataset.head(_PROMPTS if speaks else _ROWS).inputs)
    if settings.golden:
        with contextlib.suppress(InvalidInput):  # the golden check says so
            return None, dict(read_contract_case(candidate.root / settings.golden).inputs)
    return None, None


def _golden_of_this(candidate: Candidate, variant: Variant) -> Iterator[Path]:
    """Leave what later releases are held against: some rows with the answers of the preferred variant."""
    settings = candidate.contract.parts.test
    path = candidate.workspace.golden
    path.unlink(missing_ok=True)
    cases = []
    with candidate.model.open(variant.path) as predictor:
        dataset, inputs = _ordinary(candidate, predictor)
        if dataset is not None and inputs is not None and settings.examples:
            few = settings.examples <= len(next(iter(inputs.values())))
            rows = inputs if few else dict(dataset.head(settings.examples).inputs)
            cases += [case] if (case := golden_rows(predictor, rows, settings.examples)) else []
    if golden := candidate.rows.golden_file:
        with contextlib.suppress(InvalidInput):  # the golden check says so
            cases.append(read_contract_case(golden))
    if cases:
        write_cases(path, cases)
        yield path


def _gates(candidate: Candidate, variant: str, checks: list[Check]) -> Iterator[GateResult]:
    """One refusal for each kind of check of which some failed, naming the first of them."""
    line, _ = candidate.contract.source.locate(("test",), key=True)
    for group in GROUPS:
        bad = failed(check for check in checks if check.group == group)
        if not bad:
            continue
        named = "; ".join(f"{check.name}: {_first_line(check.detail)}" for check in bad[:_NAMED])
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        total = sum(check.group == group for check in checks)
        yield GateResult(
            f"test[{group}]", "test", Verdict.worst(check.verdict for check in bad), variant, "every check passes",
            f"{len(bad)} of {total} {group} checks failed for {variant}. {named}{more}",
            value=float(len(bad)), threshold=0.0, line=line if candidate.contract.says("test") else None,
        )  # fmt: skip


def _junit(candidate: Candidate, verdict: Verdict, checks: list[Check]) -> Path:
    """Every check as a test result that CI systems show."""
    path = candidate.workspace.test_results
    write_text(path, render_junit(Report(candidate.name, verdict, checks=tuple(checks))))
    return path


def _first_line(detail: str) -> str:
    """What matters of a detail in one line: of a failed pytest its error."""
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    errors = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    return (errors or lines or ["failed"])[0][:300]


def _summary(
    checks: list[Check], corruptions: tuple[str, ...], wanted: tuple[str, ...], worse: tuple[str, ...]
) -> str:
    bad = failed(checks)
    count = f"{len(checks):,}".replace(",", " ")
    told = f"{len(bad)} of {count} checks failed" if bad else f"{count} checks"
    if corruptions:
        plural = "" if len(corruptions) == 1 else "s"
        told += f", {len(corruptions)} corruption{plural} x {len(SEVERITIES)} severities"
    if missed := [name for name in wanted if name not in corruptions]:
        told += f"; left out, for `test.budget` was spent: {', '.join(missed)}"
    return told + (f"; proven worse than the baseline: {', '.join(worse)}" if worse else "")
