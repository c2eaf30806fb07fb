"""One git command in a process of its own: never interactive, in the C locale, its last words in plain sight."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from gradatim.errors import EnvironmentLacks, patience

_DURABLE = ("-c", "core.fsync=committed,reference")
"""What git says it has written survives a power cut, objects and references."""
_LOCAL = 10
"""A command that speaks to no server says nothing until it is done, and may take so many times longer."""
_HELD = 3.0
"""Seconds that no git holds the lock of a reference, which it writes, syncs and renames."""
_LOCK = re.compile(rb"^(?:fatal|error): .*'([^'\n]+/refs/[^'\n]+\.lock)': File exists", re.MULTILINE)
_PROGRESS = re.compile(
    r"^(?:remote: )?(?:Enumerating|Counting|Compressing|Receiving|Resolving|Writing|Unpacking|Updating|Total|Delta)\b"
)


_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://|ssh://)?(?:[^@/\s]+@)?(?P<host>[^@:/\s]+)(?P<port>:\d+(?=/))?[:/]/*(?P<path>[^\s]+)"
)
_HELPER = '!f() { test "$1" = get && printf "password=%s\\n" "$GRADATIM_TOKEN"; }; f'


def pushing(remote: str, url: str) -> dict[str, str]:
    """Variables that let git push with the token in GRADATIM_TOKEN, whichever way the checkout came here; else none.

    The token itself stands in no address and in no argument list, so that no message can quote it.
    """
    found = _ADDRESS.fullmatch(url)
    if not os.environ.get("GRADATIM_TOKEN") or found is None or not ("://" in url or "@" in url):
        return {}
    port = found["port"] or "" if found["scheme"] else ""
    address = f"{found['scheme'] or 'https'}://x-access-token@{found['host']}{port}/{found['path']}"
    settings = [
        (f"remote.{remote}.pushurl", address),
        ("credential.helper", ""),  # forgets those of the machine
        ("credential.helper", _HELPER),
    ]
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    said = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings, first):
        said |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return said


def surroundings(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that git runs with."""
    slow = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": f"{patience():.0f}"}
    return {**slow, **os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(extra or {})}


def call_git(
    arguments: Sequence[str],
    *,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    remote: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run git with an argument list, whatever exit code it ends with.

    Args:
        arguments: after ``git``.
        stdin: what it reads.
        environment: variables besides the usual ones.
        remote: whether it speaks to a server: it is given up when it has said nothing for a while, and not before.

    Raises:
        EnvironmentLacks: git is not installed, or was silent for too long.
    """
    command = ["git", *_DURABLE, *arguments]
    given, variables = b"" if stdin is None else stdin, surroundings(environment)
    try:
        while True:
            done = (
                _listened_to(command, given, variables)
                if remote
                else subprocess.run(
                    command, input=given, capture_output=True, env=variables, check=False, timeout=_LOCAL * patience()
                )
            )  # fmt: skip
            if done.returncode == 0 or not _took_away_a_lock(arguments, done.stderr):
                return done
    except subprocess.TimeoutExpired as error:
        raise EnvironmentLacks(
            f"`git {' '.join(arguments[:3])}` said nothing for {error.timeout:.0f} seconds and was ended. Check the network and "
            "the server, then run the same command again; GRADATIM_PATIENCE (seconds) waits longer."
        ) from error
    except FileNotFoundError as error:
        raise EnvironmentLacks(
            "git is not installed, and gradatim keeps its versions there. Install it (`apt install git`) "
            "and run the same command again."
        ) from error


def refuse_embedded(git_dir: Path) -> None:
    """Refuse a repository that lies among the files of another: whoever may add files there would have its settings run programs.

    Raises:
        EnvironmentLacks: it does.
    """
    around = next((folder for folder in git_dir.parents if (folder / ".git").exists()), None)
    if around is not None and ".git" not in git_dir.parts:
        raise EnvironmentLacks(
            f"{git_dir} looks like a git repository of its own among the files of {around}, and what its settings name would be "
            "run. Take HEAD, config, objects and refs out of that folder, or move the repository."
        )


def _took_away_a_lock(arguments: Sequence[str], stderr: bytes) -> bool:
    """Whether a reference's lock was in the way that a git which was killed has left, and is no more.

    Nothing says whose a lock is. It is nobody's where it is older than git holds one and no git is at work on this machine, which
    only Linux tells; else it stays, and whoever is in front of it decides. A hook or a server may say what git says: nothing is taken
    away but from where git keeps references.
    """
    found = _LOCK.search(stderr)
    if found is None or _at_work():
        return False
    folder = arguments[1] if arguments[:1] == ["-C"] else "."
    lock = Path(folder, os.fsdecode(found[1]))
    with contextlib.suppress(OSError):
        if _of_references(lock) and time.time() - lock.stat().st_mtime > _HELD:
            lock.unlink()
            return True
    return False


def _of_references(lock: Path) -> bool:
    kept = [
        p
        for p in lock.parents
        if p.name == "refs" and (p.parent / "HEAD").is_file() and (p.parent / "objects").is_dir()
    ]
    return bool(kept) and ".." not in lock.relative_to(kept[0]).parts


def _at_work() -> bool:
    """Whether any git runs; True also where nobody can tell."""
    with contextlib.suppress(OSError):
        names = [entry / "comm" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return not names or any(_said(name).startswith("git") for name in names)
    return True


def _said(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text()
    return ""  # it has ended meanwhile


def _listened_to(
    command: Sequence[str], given: bytes, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that speaks to a server for as long as it says something, its progress above all.

    Raises:
        subprocess.TimeoutExpired: it said nothing for too long, and was killed with all that it had started.
    """
    apart = not sys.stdin or not sys.stdin.isatty()  # where nobody could be asked for a passphrase
    pipe = subprocess.PIPE
    heard, said = [time.monotonic()], ([], [])  # type: tuple[list[float], tuple[list[bytes], list[bytes]]]

    def listen(stream: IO[bytes], into: list[bytes]) -> None:
        while chunk := os.read(stream.fileno(), 1 << 16):
            into.append(chunk)
            heard[0] = time.monotonic()

    def tell(stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError), stream:
            stream.write(given)

    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=variables, start_new_session=apart
    ) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 (they were asked for)
        work = [
            threading.Thread(target=listen, args=(process.stdout, said[0]), daemon=True),
            threading.Thread(target=listen, args=(process.stderr, said[1]), daemon=True),
            threading.Thread(target=tell, args=(process.stdin,), daemon=True),
        ]
        try:
            for thread in work:
                thread.start()
            for thread in work:
                while thread.is_alive():
                    left = heard[0] + patience() - time.monotonic()
                    if left <= 0:
                        raise subprocess.TimeoutExpired(list(command), patience())
                    thread.join(left)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if apart else process.kill()
            raise
    return subprocess.CompletedProcess(
        list(command), process.returncode, b"".join(said[0]), b"".join(said[1])
    )


def last_words(stderr: bytes) -> str:
    """Why a command failed, as git put it: at most three lines, without names and passwords."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    lines = [line for line in lines if not _PROGRESS.match(line)]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "!", "remote:"))] or lines
    if all(
        "failed to push some refs" in line for line in telling
    ):  # a hook has said why, in words of its own
        telling = lines
    plain = [line.removeprefix("fatal: ").removeprefix("error: ").rstrip(".") for line in telling]
    plain = [line for line in plain if "ould not read from remote" not in line] or plain
    return without_user("; ".join(plain[:3])) or "it gave no reason"


def without_user(text: str) -> str:
    """Text without the names and passwords in its URLs."""
    return re.sub(r"://[^/\s]*@", "://", text)
