"""One git command in a process of its own: never interactive, in the C locale, its last words in plain sight."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from gradatim.errors import EnvironmentLacks

_PATIENCE = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "120"}
"""A server that sends less than a byte a second for two minutes is given up; set them yourself to wait longer."""


def surroundings(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that git runs with."""
    return {**_PATIENCE, **os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(extra or {})}


def call_git(
    arguments: Sequence[str],
    *,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git with an argument list, whatever exit code it ends with.

    Raises:
        EnvironmentLacks: git is not installed.
    """
    try:
        return subprocess.run(
            ["git", *arguments],
            input=b"" if stdin is None else stdin,
            capture_output=True,
            env=surroundings(environment),
            check=False,
        )
    except FileNotFoundError as error:
        raise EnvironmentLacks(
            "git is not installed, and gradatim keeps its versions there. Install it (`apt install git`) "
            "and run the same command again."
        ) from error


def last_words(stderr: bytes) -> str:
    """Why a command failed, as git put it: at most three lines, without names and passwords."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "!", "remote:"))] or lines
    plain = [line.removeprefix("fatal: ").removeprefix("error: ").rstrip(".") for line in telling]
    plain = [line for line in plain if "ould not read from remote" not in line] or plain
    return without_user("; ".join(plain[:3])) or "it gave no reason"


def without_user(text: str) -> str:
    """Text without the names and passwords in its URLs."""
    return re.sub(r"://[^/\s]*@", "://", text)
