"""What a person sees of a walk, in any width of the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import click
import pytest

from gradatim.commands.display import Display, before_lines, step_lines
from gradatim.commands.options import row, wrapped
from gradatim.pipeline.graph import STEPS
from gradatim.pipeline.walk import StepResult
from gradatim.progress import Event, Lines, about

REFUSED = {
    "text": "recall[class=8] 77.8 % (69.4 .. 84.8), wanted at least 85 %. 20 of 90 samples of class 8 were missed.",
    "gate": "recall[class=8]",
    "verdict": "FAIL",
    "place": "gradatim.yml:27",
}


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = StepResult(
        "evaluate", "done", 1, "FAIL",
        "900 samples, accuracy 99.00 %, baseline 96.56 %, compared on 658 whose label v1.0.0 knows; new: 2",
        6.2, {"refusals": [REFUSED]},
    )  # fmt: skip
    told = [
        *step_lines(result),
        *before_lines(["gradatim.yml is not committed, so no tag can vouch for it."]),
    ]
    lines = [click.unstyle(line) for line in told]
    assert max(map(len, lines)) <= min(columns, 100)
    assert lines[0].endswith(" 6.2 s"), lines
    words = " ".join(" ".join(lines).split())
    assert "new: 2" in words
    assert "gradatim.yml:27" in words


def test_a_number_and_its_unit_stay_on_one_line() -> None:
    text = "proven worse than the baseline: contrast at severity 5 (79.8 % -> 40.7 %), 12.5 ms and 3 points"
    for columns in range(20, 90):
        for line in wrapped(text, columns):
            assert not line.startswith(("%", "ms", "points")), line
    assert " ".join(wrapped(text, 30)) == text


BARS = """
import time
from gradatim.commands.display import Display
from gradatim.pipeline.graph import STEPS
from gradatim.progress import Event

display = Display()
with display.live():
    display.started(STEPS["benchmark"])
    display.progressed(STEPS["benchmark"], Event("benchmark", 3, 36, "a form of the model (measuring), " * 5))
    time.sleep(0.3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a terminal of POSIX")
@pytest.mark.parametrize("columns", [60, 80])
def test_a_long_note_beside_a_bar_leaves_the_steps_name_and_count_whole(columns: int) -> None:
    import fcntl
    import pty
    import struct
    import termios

    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS")}
    lead, follow = pty.openpty()
    fcntl.ioctl(follow, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    done = subprocess.run(
        [sys.executable, "-c", BARS], stderr=follow, timeout=60, env={**kept, "TERM": "xterm"}, check=True
    )
    os.close(follow)
    said = os.read(lead, 1 << 16).decode()
    os.close(lead)
    assert done.returncode == 0
    shown = [re.sub(r"\x1b\[[\d;?]*\w", "", line) for line in re.split(r"[\r\n]+", said)]
    (last,) = {line.strip() for line in shown if "3/36" in line}
    assert re.match(r"benchmark\b.* 3/36 \d:\d\d:\d\d a form of", last)
    assert last.endswith("…")
    assert len(last) <= columns


def test_how_long_a_long_step_will_take_is_said_once_before_it_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = Display()
    for note in ("about 3 min in 2 processes", "about 3 min in 2 processes", "3 of 5"):
        display.progressed(STEPS["test"], Event("test", 0, None, note))
    display.progressed(STEPS["gate"], Event("gate", 0, None, "about 2 s, as last time"))
    assert capsys.readouterr().err == "  test       about 3 min in 2 processes\n"


def test_a_log_that_nobody_watches_is_told_once_too(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines().task("benchmark", 36) as advance:
        advance(0, f"{about(14)}, six times that at most")
        advance(1, "candidate latency_floor +0.1 % (measuring)")
        advance(0, about(4))
    assert capsys.readouterr().err == "  benchmark  about 14 s, six times that at most\n"


def test_our_own_colours_stay_where_what_steers_a_terminal_does_not(monkeypatch):
    """Headings of the demo and a stage that is BROKEN stand in text that is wrapped, like a stranger's words."""
    monkeypatch.setenv("COLUMNS", "80")
    for ours in (click.style("A heading", bold=True), click.style("BROKEN", fg="red", bold=True)):
        assert row("", f"{ours}: it moved") == f"{ours}: it moved"
    for theirs in ("\x1b[2J", "\x1b]0;title\x07", "\x1b[8mhidden", "\x1b[1A", "\r"):
        shown = row("", f"v1.0.0 {theirs} is out")
        assert "\x1b" not in shown
        assert "\r" not in shown
        assert "\x07" not in shown
