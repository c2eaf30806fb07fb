"""Sixty columns: every command that a person reads keeps to them, and a pipe gets whole lines."""

from __future__ import annotations

import pytest
from projects.small import Copy


@pytest.mark.parametrize("columns", [60, 80])
def test_no_line_is_wider_than_the_terminal_whatever_the_command(columns: int, proven: Copy) -> None:
    assert proven.call("run").code == 0
    narrow = {"COLUMNS": str(columns)}
    for arguments in (
        "status",
        "history",
        "verify v1.0.0",
        "diff v1.0.0 v1.0.0",
        "gate --plan",
        "doctor",
        "run",
    ):
        done = proven.call(*arguments.split(), environment=narrow)
        long = [
            line
            for line in (done.out + done.err).splitlines()
            if len(line) > columns and " " in line.strip()[: columns - 12]
        ]
        assert not long, (arguments, long)


def test_in_a_pipe_a_stage_is_one_line(proven: Copy) -> None:
    assert proven.call("run").code == 0
    lines = proven.call("status", without=("COLUMNS",)).out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("unsigned, the first release")
