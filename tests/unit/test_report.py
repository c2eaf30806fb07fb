"""The report: one object, told in HTML, markdown, JUnit and on a terminal."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import report_examples as examples

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.trial import Sensitivity
from gradatim.files import canonical_json, parse_json
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.report.assemble import curves_from, slices_from
from gradatim.report.gallery import draw_all
from gradatim.report.html import render_html
from gradatim.report.junit import render_junit
from gradatim.report.markdown import COMMENT_LIMIT, STEP_SUMMARY_LIMIT, render_markdown
from gradatim.report.model import Confusion, Report, Severity


def parsed(xml: str | bytes) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 (our own)


EVERY = pytest.mark.parametrize("name", list(examples.ALL))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render_html(make()) for name, make in examples.ALL.items()}


class Page(HTMLParser):
    """Collects tags, attributes and visible text; complains about what is not closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@EVERY
def test_a_report_survives_the_journey_through_json(name: str) -> None:
    report = examples.ALL[name]()
    again = Report.from_json(parse_json(canonical_json(report.to_json()), "report"))
    assert again == report


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"verdict": "MAYBE"}, "report.verdict is 'MAYBE'"),
        ({"colour": "red"}, "unknown fields: colour"),
        ({"samples": "many"}, "report.samples is str, where int belongs"),
        ({"samples": True}, "report.samples is bool"),
        ({"variants": [{"size": 1}]}, r"report.variants\[0\] is incomplete"),
        ({"gates": [{"gate": "accuracy"}]}, r"report.gates\[0\]"),
        ({"latency": {"contestants": [{"name": "a", "ecdf": [[1.0]]}]}}, "1 values where 2 belong"),
    ],
)
def test_a_broken_record_is_refused_and_names_the_place(change: dict[str, object], told: str) -> None:
    with pytest.raises(BrokenEvidence, match=told):
        Report.from_json({"name": "digits", "verdict": "PASS", **change})


def test_a_report_refuses_numbers_that_are_none() -> None:
    with pytest.raises(InvalidInput, match="candidate is nan"):
        replace(
            examples.refused(),
            robustness=(replace(examples.curve("fog", 0, 0), points=(Severity(0, math.nan),)),),
        )


def test_a_confusion_matrix_must_be_square() -> None:
    with pytest.raises(InvalidInput, match="2 labels"):
        Confusion(("cat", "dog"), ((1, 2),))


def test_no_heading_stands_above_nothing_where_nothing_was_confused() -> None:
    report = Report("tiny", Verdict.PASS, confusion=Confusion(("cat", "dog"), ((3, 0), (0, 2))))
    assert "Most often confused" not in render_html(report)


@EVERY
def test_the_same_report_gives_the_same_bytes(name: str, pages: dict[str, str]) -> None:
    report = examples.ALL[name]()
    assert render_html(report) == pages[name]
    assert render_markdown(report) == render_markdown(report)
    assert render_junit(report) == render_junit(report)


@EVERY
def test_the_page_needs_no_network_and_no_script(name: str, pages: dict[str, str]) -> None:
    page = Page(pages[name])
    assert not [
        tag
        for tag, _ in page.tags
        if tag in ("script", "iframe", "object", "embed", "img", "base", "form", "a")
    ]
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")]
        if tag == "link":
            assert attributes["href"] == "data:,"
        assert not {"src", "srcset", "action", "xlink:href"} & set(attributes)
    styles = "".join(re.findall(r"<style>(.*?)</style>", pages[name], re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert "prefers-color-scheme:dark" in styles
    assert "@media print" in styles


@EVERY
def test_every_picture_is_valid_xml_and_can_be_read_out(name: str, pages: dict[str, str]) -> None:
    ids: list[str] = []
    for drawn in re.findall(
        r"<svg class=\"picture\".*?</svg>|<svg [^>]*role=\"img\".*?</svg>", pages[name], re.DOTALL
    ):
        root = parsed(drawn)
        assert root.find("title") is not None
        assert (root.findtext("desc") or "").strip()
        ids += [element.get("id", "") for element in root.iter() if element.get("id")]
        assert root.get("aria-labelledby", "").split() == ids[-2:]
        assert '="nan"' not in drawn
    assert len(ids) == len(set(ids))


def test_every_part_of_a_report_that_can_be_drawn_is_a_picture() -> None:
    pictures = draw_all(examples.refused())
    assert {
        "variants",
        "sensitivities",
        "latency-rounds",
        "latency-distribution",
        "slices-1",
        "slices-2",
        "robustness-3",
        "confusion",
        "calibration",
    } <= set(pictures)
    for drawn in pictures.values():
        assert parsed(drawn).tag == "svg"


def test_layers_that_all_lose_nearly_everything_are_drawn_at_the_far_end_of_their_axis() -> None:
    lost = {"first": 0.997, "second": 2.25, "third": 1e9}
    layers = tuple(Sensitivity(name, "Gemm", {"static": loss}) for name, loss in lost.items())
    for nodes in (layers, layers[1:2], layers[1:]):
        drawn = draw_all(replace(examples.refused(), sensitivities=nodes))["sensitivities"]
        dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)[-len(nodes) :]]
        assert dots == sorted(dots)
        assert dots[0] > 280
        assert "e+" not in drawn


def test_layers_are_drawn_in_their_order_the_most_sensitive_ones() -> None:
    drawn = draw_all(examples.refused())["sensitivities"]
    told = " ".join(parsed(drawn).itertext())
    assert "head is the most sensitive: it loses up to everything" in told
    assert "24 of 31 layers are shown" in told
    rows = re.findall(r"layer\.(\d+)/", "".join(re.findall(r"<title>(.*?)</title>", drawn)))
    assert len(rows) >= 22
    assert rows == sorted(rows, key=int)


def test_marks_and_labels_stay_inside_their_picture() -> None:
    for name, drawn in draw_all(examples.refused()).items():
        root = parsed(drawn)
        width, height = (float(root.get(key, "0")) for key in ("width", "height"))
        for element in root.iter():
            if element.tag in ("text", "circle", "rect"):
                x = float(element.get("x") or element.get("cx") or 0)
                y = float(element.get("y") or element.get("cy") or 0)
                assert 0 <= x <= width, (name, element.attrib)
                assert 0 <= y <= height, (name, element.attrib)


def test_labels_of_variants_never_cover_one_another() -> None:
    from gradatim.report.text import width_of

    root = parsed(draw_all(examples.refused())["variants"])
    boxes = []
    for element in root.findall("text"):
        if element.find("tspan") is None:
            continue
        text = " ".join(element.itertext())
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor", "start")]
        left = float(element.get("x", "0")) - shift * width_of(text)
        boxes.append((left, float(element.get("y", "0")), left + width_of(text)))
    assert len(boxes) == 8
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            assert abs(one[1] - other[1]) >= 12 or one[2] <= other[0] + 2 or other[2] <= one[0] + 2


def test_the_reviewer_needs_no_click_to_know_why(pages: dict[str, str]) -> None:
    markdown = render_markdown(examples.refused())
    first = markdown.splitlines()[0]
    assert "FAIL" in first
    assert r"recall\[class=8\]" in first
    before_folds = markdown.split("<details>")[0]
    assert "7 of them taken for 1" in before_folds
    assert "`gradatim.yml:19`" in before_folds
    assert "| ❌ FAIL | `recall[class=8]` | 79.5\u00a0% |" in before_folds
    assert (
        before_folds.index("### Refused")
        < before_folds.index("### Gates")
        < before_folds.index("### Variants")
    )
    text = " ".join(Page(pages["refused"]).text)
    assert (
        text.index("Refused by recall[class=8]")
        < text.index("7 of them taken for 1")
        < text.index("Variants")
    )


@EVERY
def test_the_summary_fits_where_github_shows_it(name: str) -> None:
    report = examples.ALL[name]()
    assert len(render_markdown(report).encode()) <= STEP_SUMMARY_LIMIT
    short = render_markdown(report, COMMENT_LIMIT)
    assert len(short.encode()) <= COMMENT_LIMIT
    assert report.verdict.value in short.splitlines()[0]


def test_blocks_that_do_not_fit_are_counted() -> None:
    short = render_markdown(examples.hostile(), 20_000)
    assert len(short.encode()) <= 20_000
    assert "left out for length" in short


def test_tables_of_the_summary_keep_their_columns_whatever_the_names() -> None:
    for line in render_markdown(examples.hostile()).splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            assert len(cells) in (2, 3, 4, 5, 6, 7, 8)
    blocks = re.findall(r"(?:^\|.*\n)+", render_markdown(examples.hostile()), re.MULTILINE)
    for block in blocks:
        assert len({len(re.split(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1


def test_names_cannot_break_out_of_the_summary() -> None:
    whole = render_markdown(examples.hostile())
    assert not re.search("[\x00-\x08\x1b\u202e]", whole)
    assert whole.count("```") == 2
    markdown = re.sub(r"```text\n.*?\n```", "", whole, flags=re.DOTALL)
    assert "<script" not in markdown
    assert "@everyone" not in markdown
    assert "](http" not in markdown.replace(r"\]", "")
    assert not re.search(r"^# owned", markdown, re.MULTILINE)
    assert set(re.findall(r"<[^>]+>", markdown)) <= {
        "<details>",
        "</details>",
        "<code>",
        "</code>",
        "<br>",
        "<summary>",
        "</summary>",
    }


def test_names_cannot_break_out_of_the_page(pages: dict[str, str]) -> None:
    page = pages["hostile"]
    assert "<script" not in page
    assert not re.search("[\x00-\x08\x1b\u202e]", page)
    assert "&lt;script&gt;" in page
    assert len(page) < 2_000_000


def test_long_lists_are_cut_and_counted(pages: dict[str, str]) -> None:
    text = " ".join(Page(pages["hostile"]).text)
    for told in (
        "and 992 more refused gates",
        "and 900 more gates",
        "and 260 more variants",
        "and 700 more slices",
        "The 20 of 200 labels with the most errors",
        "and 36 more corruptions",
    ):
        assert told.replace("1 000", "1\u202f000") in text
    assert "and 900 more gates" in render_markdown(examples.hostile())


def test_absent_sections_vanish(pages: dict[str, str]) -> None:
    text = " ".join(Page(pages["least"]).text)
    for section in (
        "Gates",
        "Variants",
        "Latency",
        "Slices",
        "Robustness",
        "Confusion",
        "Calibration",
        "Checks",
        "Lineage",
    ):
        assert section not in text
    assert "Confusion" not in " ".join(Page(pages["regression"]).text)
    assert render_markdown(examples.least()) == "## ✅ tiny: PASS\n"
    assert "<details>" not in render_markdown(examples.least())


@EVERY
def test_each_section_may_be_the_only_one(name: str) -> None:
    report = examples.ALL[name]()
    for field in (
        "gates",
        "steps",
        "variants",
        "measurements",
        "slices",
        "robustness",
        "latency",
        "confusion",
        "calibration",
        "checks",
        "inspection",
        "lineage",
        "hints",
        "budget",
        "warnings",
    ):
        if getattr(report, field):
            alone = Report("alone", report.verdict, **{field: getattr(report, field)})
            Page(render_html(alone))
            assert render_markdown(alone).startswith("## ")
            parsed(render_junit(alone))


def test_a_verdict_is_told_in_words_and_not_in_colour_alone(pages: dict[str, str]) -> None:
    for name, word in (
        ("refused", "FAIL"),
        ("passed", "PASS"),
        ("regression", "INCONCLUSIVE"),
        ("hostile", "INVALID"),
    ):
        badge = re.search(r'<span class="badge">.*?</svg>(.*?)</span>', pages[name], re.DOTALL)
        assert badge
        assert badge[1] == word


def test_junit_counts_what_ci_shows() -> None:
    root = parsed(render_junit(examples.refused()))
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == (
        "66",
        "1",
        "0",
        "0",
    )
    case = root.find(".//testcase[@name='recall[class=8]']")
    assert case is not None
    assert (case.get("file"), case.get("line")) == ("gradatim.yml", "19")
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("type") == "FAIL"
    assert "7 of them taken for 1" in (failure.text or "")


def test_junit_tells_an_undecided_gate_from_one_that_only_warns() -> None:
    root = parsed(render_junit(examples.regression()))
    assert (root.get("failures"), root.get("skipped")) == ("1", "1")
    invalid = GateResult("accuracy", "accuracy", Verdict.INVALID, "fp32", "at least 90 %", "labels are NaN")
    root = parsed(render_junit(Report("m", Verdict.INVALID, gates=(invalid,))))
    assert (root.get("failures"), root.get("errors")) == ("0", "1")


def test_junit_stays_valid_xml_with_hostile_names() -> None:
    root = parsed(render_junit(examples.hostile()))
    assert root.get("tests") == "1500"


def test_slices_come_with_their_baseline_and_their_gate() -> None:
    measured = [
        Measurement("recall", "fp32", 0.8, n=44, low=0.7, high=0.9, where="class=8"),
        Measurement("recall", "baseline", 0.9, n=44, where="class=8"),
        Measurement("accuracy", "fp32", 0.97, n=597),
        Measurement("mae", "fp32", 2.0, where="region=north"),
        Measurement("recall", "fp32", None, where="class=9", reason="no sample"),
        Measurement("accuracy", "fp32", 0.8, where="fog:3"),
    ]
    gate = GateResult(
        "recall[class=8]", "recall", Verdict.FAIL, "fp32", "at least 90 %", "no", 0.8, threshold=0.9
    )
    recall, mae = slices_from(measured, (gate,), "fp32", lower_is_better=("mae",))
    assert (recall.column, recall.part, recall.baseline, recall.threshold) == ("class", "8", 0.9, 0.9)
    assert recall.verdict is Verdict.FAIL
    assert (mae.part, mae.higher_is_better) == ("north", False)


def test_curves_start_at_the_clean_data() -> None:
    measured = [
        Measurement("accuracy", "fp32", 0.97, n=597),
        Measurement("accuracy", "fp32", 0.80, where="fog:3"),
        Measurement("accuracy", "fp32", 0.90, where="fog:1"),
        Measurement("accuracy", "baseline", 0.85, where="fog:1"),
        Measurement("accuracy", "other", 0.1, where="fog:2"),
    ]
    (curve,) = curves_from(measured, "fp32")
    assert [(p.severity, p.candidate, p.baseline) for p in curve.points] == [
        (0, 0.97, None),
        (1, 0.9, 0.85),
        (3, 0.8, None),
    ]


def test_a_report_is_read_without_numpy_and_jinja() -> None:
    code = (
        "import sys, gradatim.report.markdown, gradatim.report.html, gradatim.report.junit\n"
        "import gradatim.report.assemble\n"
        "print([m for m in ('numpy', 'jinja2', 'rich', 'pydantic', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_record_is_strict_json() -> None:
    json.dumps(examples.refused().to_json(), allow_nan=False)


def test_a_table_of_gates_explains_itself_to_ears_and_to_narrow_screens(pages: dict[str, str]) -> None:
    page = max(pages.values(), key=len)
    assert not re.search(r"<th(?![^>]*\bscope=)[ >]", page)
    for label in ("Value", "Interval", "Wanted", "Detectable", "n"):
        assert f'data-label="{label}"' in page
    words = page[page.index("What these words mean") :]
    for word in ("INCONCLUSIVE", "baseline", "interval", "detectable", "negative flips"):
        assert f"<dt>{word}</dt>" in words
    assert "@media (max-width:820px){.gates" in page


def test_every_word_that_heads_a_part_or_a_column_of_a_report_is_explained_in_it(
    pages: dict[str, str],
) -> None:
    plain = {
        "gates", "verdict", "gate", "value", "size", "calls", "kind", "passed", "time", "what_it_found", "measurement", "metric",
        "contestant", "model", "contract", "data",
    }  # fmt: skip
    known = {
        "95_%_interval": "interval",
        "p50": "p50, p95",
        "p95": "p50, p95",
        "p90": "p50, p95",
        "p99": "p50, p95",
    }
    for name, page in pages.items():
        if "What these words mean" not in page:  # a report of nothing but a verdict
            assert not re.search("<th[ >]", page)
            continue
        told = {
            word.lower()
            for word in re.findall(r"<dt>([^<]*)</dt>", page[page.index("What these words mean") :])
        }
        heads = re.findall(r"<(?:h2|th)[^>]*>([^<]+)</", page[: page.index("What these words mean")])
        for head in (re.sub(r"\W+$", "", head.strip().lower()) for head in heads):
            if head.replace(" ", "_") in plain or not re.match(r"[a-z]", head):
                continue
            word = known.get(head.replace(" ", "_"), head)
            assert {word, word.removesuffix("s"), {"robustness": "corruption"}.get(word, word)} & told, (
                name,
                head,
            )
