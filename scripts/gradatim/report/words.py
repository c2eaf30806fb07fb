"""The words of a report for a reader without statistics: each that stands in it, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradatim.metrics.catalogue import find
from gradatim.report import sentences
from gradatim.report.model import Report

_GATES = {
    "PASS": "proven by the data, not only likely.",
    "FAIL": "the contrary is proven.",
    "INCONCLUSIVE": "the data cannot tell; more of them would.",
    "INVALID": "what was measured is broken or missing, so nothing can be said.",
    "baseline": "the release in service, which the candidate would replace. Both answer the same samples.",
    "interval": "where the true value lies, as far as this many samples tell; the text below the table says how sure that is.",
    "detectable": "the smallest difference that this many samples could prove.",
    "n": "how many independent samples the value rests on.",
    "negative flips": "samples that the baseline gets right and the candidate does not.",
    "wanted": "what the contract asks for.",
    "margin": "how much worse than the baseline is still tolerated.",
}
_VARIANTS = {
    "variant": "a form of the candidate: `original` is the model as it was given, the others compression made.",
    "time per call": "how long the model takes beside the baseline, or the original, run in turn on one machine.",
}
_LATENCY = {
    "latency": "how long one call of the model takes.",
    "p50, p95": "the time within which half of the calls end, or 95 of 100.",
    "round": "one start of each model in a process of its own; the rounds are what is counted, not the calls.",
}
_SLICES = {"slice": "the samples of one class, or of one value of a column."}
_ROBUSTNESS = {
    "corruption": "a change to the items as they may come in service, such as noise or a typo.",
    "severity": "how strong a corruption is, from 1 to 5.",
}
_CONFUSION = {"confusion": "how often samples of one class (a row) were taken for another (a column)."}
_CALIBRATION = {"calibration": "whether the model is right as often as it says that it is sure."}
_CHECKS = {"check": "a question with a yes or no, such as: the same input, the same answer?"}
_STEPS = {
    "step": "one command of the walk from build to publish.",
    "evidence": "what a step found, with the digests of all that it rests on; kept in git for each release.",
}
_MODEL = {
    "opset": "the version of ONNX's operators that the file speaks.",
    "parameters": "the numbers that training found.",
    "operators": "what the model computes with, and how often.",
    "sha256": "the digest of a file: one changed byte gives another.",
}
_LINEAGE = {
    "lineage": "where the model comes from: code, data, machine, and what training recorded.",
    "manifest": "the list of a release's files with their digests; its own digest is the release's identity.",
    "seed": "where random numbers start: the same seed, the same numbers.",
}
_OWN = "your own measure, named in the contract."


def explained(report: Report) -> dict[str, str]:
    """Word to meaning, for the parts that a report has, and for each metric in them by the catalogue's own words."""
    parts = (
        (report.gates, _GATES),
        (report.variants, _VARIANTS),
        (report.latency or any("latency" in gate.gate for gate in report.gates), _LATENCY),
        (report.slices, _SLICES),
        (report.robustness, _ROBUSTNESS),
        (report.confusion, _CONFUSION),
        (report.calibration, _CALIBRATION),
        (report.checks, _CHECKS),
        (report.steps, _STEPS),
        (report.inspection, _MODEL),
        (report.lineage, _LINEAGE),
    )
    found = {word: meaning for part, meanings in parts if part for word, meaning in meanings.items()}
    for name in sorted(set(_metrics(report))):
        metric = find(name, report.task or "")
        found[sentences.words(name)] = f"{metric.description}." if metric else _OWN
    return found


def _metrics(report: Report) -> Iterator[str]:
    named = [gate.gate for gate in report.gates]
    named += [metric for row in report.variants for metric in row.quality]
    named += [each.metric for each in report.slices]
    named += [each.metric for each in report.robustness]
    named += [each.name for each in report.measurements]
    for name in named:
        yield re.split(r"[\[ ]", name)[0]
