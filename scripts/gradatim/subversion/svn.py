"""The programs of Subversion: how they are run, and how what they print is read.

Never interactive and never by a shell. Their output is read as XML and their errors by number, so that no language of a
user's shell matters.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from gradatim.errors import EnvironmentLacks, patience

_CODE = re.compile(r"\b[EW](\d{6})\b")


def environment() -> dict[str, str]:
    """The variables that the programs run with."""
    language = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"  # paths of any alphabet
    return {**os.environ, "LC_ALL": language}


def run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run one to its end, whether it succeeds or not.

    Raises:
        EnvironmentLacks: it is not installed, or did not end in time.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(),
            check=False,
            timeout=patience(),
        )
    except FileNotFoundError as error:
        raise not_installed(command[0]) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentLacks(
            f"Subversion did not answer `{command[0]}` within {patience():.0f} seconds. Check the server and "
            "the network, then run the same command again."
        ) from error


def not_installed(program: str) -> EnvironmentLacks:
    """The error for a program that is missing."""
    return EnvironmentLacks(
        f"This project lies in Subversion, and `{program}` is not installed. Install it (`apt install subversion`) "
        "and run the same command again."
    )


def unusable(folder: Path, stderr: bytes) -> EnvironmentLacks:
    """The error for a working copy that cannot be read."""
    return EnvironmentLacks(f"svn cannot read the working copy {folder}: {last_words(stderr)}.")


def parse(output: bytes) -> ET.Element:
    """Read XML.

    Raises:
        EnvironmentLacks: it is none, as after a program that was stopped.
    """
    try:
        return ET.fromstring(output)  # noqa: S314 (svn's own output, which declares no entities)
    except ET.ParseError as error:
        raise EnvironmentLacks(f"svn printed something that cannot be read: {error}.") from error


def codes(stderr: bytes) -> set[str]:
    """The numbers of the errors and warnings: ``160013``."""
    return set(_CODE.findall(stderr.decode(errors="replace")))


def last_words(stderr: bytes) -> str:
    """What a program gave as the reason, on one line."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    plain = [re.sub(r"^(svn|svnmucc): (warning: )?([EW]\d+: )?", "", line).rstrip(".") for line in lines]
    return "; ".join(dict.fromkeys(plain[:6])) or "it gave no reason"


def seconds(date: str | None) -> int:
    """A date as Subversion prints it, in seconds since 1970."""
    if not date:
        return 0
    return int(datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp())
