"""Keep processes with the user's code from what they are judged by: the workspace, and the process that judges.

Where the kernel lets anybody make namespaces, such a process sees the workspace and what the judge rests on read-only, may
neither trace its parent nor read its memory or environment, and all that it starts ends with it. Elsewhere it is a process of
its own, and no more.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import json
import os
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

GUARDED = "GRADATIM_GUARDED"
"""The workspace of this run and its contract, which no code of the user's may write to."""

_OF_A_RUNNER = (
    "GITHUB_ENV",
    "GITHUB_PATH",
    "GITHUB_OUTPUT",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
    "RUNNER_TEMP",
    "GITHUB_ACTION_PATH",
)
"""Where GitHub's runner says that it keeps what it reads after a step, and the very scripts of the steps."""

Isolation = Literal["process", "namespace"]

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_PARENT = 0xB702
"""What ``ioctl`` answers with the namespace around a user namespace."""
_PATIENCE = 5.0
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_KEPT = {os.ST_NOSUID: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
"""A mount's flags as ``statvfs`` and as ``mount`` call them: a new user may not lose them on the way."""


def guard(workspace: Path, contract: Path) -> None:
    """Let no process with the user's code write to this folder and file, whoever starts it from here on."""
    places = map(os.path.abspath, (workspace, contract))  # a link stays as it was written
    os.environ[GUARDED] = json.dumps(list(places))


def isolation() -> Isolation:
    """What separates the user's code from what it is judged by, here: ``namespace`` or only ``process``."""
    if places := _places(building=False):
        return "namespace" if _works(places) else "process"
    with tempfile.TemporaryDirectory(prefix="gradatim-") as scratch:
        return "namespace" if _works((scratch,)) else "process"


def confined(*, building: bool = False, scratch: Path | None = None) -> dict[str, Any]:
    """What ``subprocess.Popen`` takes besides, to start a process with the user's code.

    Args:
        building: whether it may change the environment and git's settings, as a build that installs something does.
        scratch: a folder in the workspace that it may write to.
    """
    workspace, contract = json.loads(os.environ.get(GUARDED, "[null, null]"))
    if (
        contract and Path(contract).is_file()
    ):  # `init` tries one that is nowhere yet, and leaves nothing behind
        with contextlib.suppress(OSError):
            Path(workspace).mkdir(exist_ok=True)  # what is not there, the user's code could make
    places = _places(building)
    if not places or not _works(places):
        return {}
    return {"preexec_fn": functools.partial(_withdraw, _mounting(), places, scratch)}


class Confined(subprocess.Popen[bytes]):
    """A process with the user's code, in a session of its own; ``end`` ends all that it has started, in whatever session."""

    def __init__(
        self, command: Sequence[str], *, building: bool = False, scratch: Path | None = None, **how: Any
    ) -> None:
        super().__init__(
            command, start_new_session=True, **confined(building=building, scratch=scratch), **how
        )
        self._space: int | None = None
        with contextlib.suppress(OSError):
            space = os.open(f"/proc/{self.pid}/ns/user", os.O_RDONLY)
            self._space = space  # held open, so that no other gets its number
            if os.fstat(space).st_ino == Path("/proc/self/ns/user").stat().st_ino:
                os.close(space)
                self._space = None

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        space, self._space = self._space, None
        if space is not None:
            late = time.monotonic() + _PATIENCE
            while (left := list(_within(os.fstat(space).st_ino))) and time.monotonic() < late:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            os.close(space)
        self.wait()


def _within(space: int) -> Iterator[int]:
    """The processes at work in a user namespace, or in one that was made in it."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            found = os.open(process / "ns" / "user", os.O_RDONLY)
            try:
                while os.fstat(found).st_ino != space:
                    inner, found = found, fcntl.ioctl(found, _PARENT)
                    os.close(inner)
            finally:
                os.close(found)
            if (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                yield int(process.name)


def _places(building: bool) -> tuple[str, ...]:
    """What is read-only to the user's code, as far as it is there: the workspace first."""
    guarded = json.loads(os.environ.get(GUARDED, "[]"))
    if not guarded or not Path(guarded[0]).is_dir():
        return ()
    root = Path(guarded[0]).parent
    places = [*guarded, Path(__file__).parents[1]]
    runner = [Path(os.environ[name]) for name in _OF_A_RUNNER if os.environ.get(name)]
    used = (root, Path(tempfile.gettempdir()))
    folders = {place.parent if _there(place) and place.is_file() else place for place in runner}
    places += [folder for folder in folders if not any(one.is_relative_to(folder) for one in used)]
    if not building:
        environment = (sys.prefix, sys.base_prefix, site.getusersitepackages())
        places += [place for place in environment if not root.is_relative_to(place)]
        places += _of_git(root)
    return tuple(dict.fromkeys(os.fspath(place) for place in places if _there(place)))


def _there(place: Path | str) -> bool:
    """Whether it exists, as far as we may look."""
    with contextlib.suppress(PermissionError):
        return Path(place).exists()
    return False


def _of_git(root: Path) -> list[Path]:
    """What git takes commands from in the repository around a folder."""
    found = next((folder / ".git" for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    if found is not None and found.is_file():  # a working tree of its own, or a submodule
        found = root / found.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        with contextlib.suppress(OSError):
            found = found / (found / "commondir").read_text(encoding="utf-8").strip()
    return [found / name for name in ("config", "config.worktree", "hooks")] if found else []


@functools.cache
def _works(places: tuple[str, ...]) -> bool:
    """Whether this kernel and the file systems of these places let us, tried on the first, a folder."""
    if sys.platform != "linux":
        return False
    attempt = Path(places[0], f".written-{os.getpid()}")
    try:
        done = subprocess.run(
            ["touch", attempt],
            stderr=subprocess.DEVNULL,
            preexec_fn=functools.partial(_withdraw, _mounting(), places, None),
            check=False,
        )
        there = attempt.exists()
        attempt.unlink(missing_ok=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode != 0 and not there


def _mounting() -> Callable[..., int]:
    """libc's functions by name, found before the fork: a child of many threads may not look for anything."""
    libc = ctypes.CDLL(None, use_errno=True)
    functions = {"unshare": libc.unshare, "mount": libc.mount}

    def call(name: str, *arguments: Any) -> int:
        if functions[name](*arguments) != 0:
            raise OSError(ctypes.get_errno(), name)
        return 0

    return call


def _withdraw(libc: Callable[..., int], places: Sequence[str], scratch: Path | None) -> None:
    """In the child: see files and folders read-only, but for one in them, and lose the right to change that.

    A folder that something is mounted on cannot be renamed from inside: so each above them is, too. The second namespace is what
    locks the mounts: whoever is root in it owns none of what came from the first.
    """
    _become(libc)
    libc("mount", None, b"/", None, ctypes.c_ulong(_RECURSIVE | _PRIVATE), None)
    here = os.getcwd()  # noqa: PTH109
    above = {str(folder) for place in places for folder in list(Path(place).parents)[:-1]}
    for place in [*sorted({*above, *places}), *([str(scratch)] if scratch else [])]:
        path = os.fsencode(place)
        libc("mount", path, path, None, ctypes.c_ulong(_BIND | _RECURSIVE), None)
        if place not in above or place in places:
            found = os.statvfs(place)
            kept = sum(flag for bit, flag in _KEPT.items() if found.f_flag & bit)
            kept |= _READ_ONLY if place in places else 0
            libc("mount", None, path, None, ctypes.c_ulong(_REMOUNT | _BIND | kept), None)
    os.chdir(here)  # through the new mounts
    _become(libc)


def _become(libc: Callable[..., int]) -> None:
    """Ourselves, in namespaces of our own."""
    user, group = os.getuid(), os.getgid()
    libc("unshare", _NEW_USER | _NEW_MOUNTS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)
