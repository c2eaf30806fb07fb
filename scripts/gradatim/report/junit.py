"""Gates and checks as JUnit XML, which every CI system shows as test results."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from gradatim.errors import printable
from gradatim.evidence.found import Check
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.report import sentences, verdicts
from gradatim.report.model import Report
from gradatim.report.text import one_line

_TEXT = 20_000


def render_junit(report: Report) -> str:
    """One suite of gates and one per kind of check.

    FAIL and INCONCLUSIVE are failures, INVALID is an error; a gate that only warns here is skipped.
    """
    root = ET.Element("testsuites", name=one_line(sentences.subject(report)))
    if report.gates:
        suite = ET.SubElement(root, "testsuite", name="gates")
        for gate in report.gates:
            suite.append(_gate(gate, report))
        _count(suite)
    for group in dict.fromkeys(check.group for check in report.checks):
        suite = ET.SubElement(root, "testsuite", name=one_line(group))
        for check in report.checks:
            if check.group == group:
                suite.append(_check(check))
        _count(suite)
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _gate(gate: GateResult, report: Report) -> ET.Element:
    case = ET.Element("testcase", classname="gates", name=one_line(gate.gate), time="0")
    if gate.line:
        case.set("file", one_line(report.contract))
        case.set("line", str(gate.line))
    form = verdicts.gate_format(gate)
    if gate.verdict is Verdict.PASS:
        told = f"{form.estimate(gate.value, gate.low, gate.high)}, wanted {one_line(gate.wanted)}"
        ET.SubElement(case, "system-out").text = told
    elif not gate.blocking:
        ET.SubElement(
            case, "skipped", message=one_line(f"{gate.verdict.value}, only warns here: {gate.text}")
        )
    else:
        _refuse(case, gate.verdict, gate.text)
    return case


def _check(check: Check) -> ET.Element:
    seconds = f"{check.seconds or 0.0:.3f}"
    case = ET.Element("testcase", classname=one_line(check.group), name=one_line(check.name), time=seconds)
    if check.verdict is not Verdict.PASS:
        _refuse(case, check.verdict, check.detail)
    return case


def _refuse(case: ET.Element, verdict: Verdict, text: str) -> None:
    kind = "error" if verdict is Verdict.INVALID else "failure"
    ET.SubElement(case, kind, type=verdict.value, message=one_line(text)).text = printable(text)[:_TEXT]


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite)))
    for key, name in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(name) is not None for case in suite)))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in suite):.3f}")
