"""Keep processes with the user's code from what they are judged by: the workspace, and the process that judges.

Where the kernel lets anybody make namespaces, such a process sees the workspace read-only and may neither trace its parent nor
read its memory or environment. Elsewhere it is a process of its own, and no more.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

GUARDED = "GRADATIM_GUARDED"
"""The workspace of this run, which no code of the user's may write to."""

Isolation = Literal["process", "namespace"]

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_KEPT = {os.ST_NOSUID: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
"""A mount's flags as ``statvfs`` and as ``mount`` call them: a new user may not lose them on the way."""


def guard(workspace: Path) -> None:
    """Let no process with the user's code write to this folder, whoever starts it from here on."""
    os.environ[GUARDED] = os.path.abspath(workspace)  # noqa: PTH100 (a link stays as it was written)


def isolation() -> Isolation:
    """What separates the user's code from what it is judged by, here: ``namespace`` or only ``process``."""
    if Path(folder := os.environ.get(GUARDED, "")).is_dir() and folder:
        return "namespace" if _works(folder) else "process"
    with tempfile.TemporaryDirectory(prefix="gradatim-") as scratch:
        return "namespace" if _works(scratch) else "process"


def confined() -> dict[str, Any]:
    """What ``subprocess.Popen`` takes besides, to start a process with the user's code."""
    folder = os.environ.get(GUARDED, "")
    if not folder or not Path(folder).is_dir() or not _works(folder):
        return {}
    return {"preexec_fn": functools.partial(_withdraw, _mounting(), folder)}


@functools.cache
def _works(folder: str) -> bool:
    """Whether this kernel and the file system of a folder let us, tried on that folder."""
    if sys.platform != "linux":
        return False
    attempt = Path(folder, f".written-{os.getpid()}")
    try:
        done = subprocess.run(
            ["touch", attempt],
            stderr=subprocess.DEVNULL,
            preexec_fn=functools.partial(_withdraw, _mounting(), folder),
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


def _withdraw(libc: Callable[..., int], folder: str) -> None:
    """In the child: see a folder read-only, and lose the right to change that.

    The second namespace is what locks the mount: whoever is root in it owns none of what came from the first.
    """
    found = os.statvfs(folder)
    kept = sum(flag for bit, flag in _KEPT.items() if found.f_flag & bit)
    path, parent, none = os.fsencode(folder), os.fsencode(os.path.dirname(folder)), None  # noqa: PTH120
    _become(libc)
    libc("mount", none, b"/", none, ctypes.c_ulong(_RECURSIVE | _PRIVATE), none)
    here = os.getcwd()  # noqa: PTH109
    libc(
        "mount", parent, parent, none, ctypes.c_ulong(_BIND | _RECURSIVE), none
    )  # cannot be renamed from inside
    libc("mount", path, path, none, ctypes.c_ulong(_BIND | _RECURSIVE), none)
    libc("mount", none, path, none, ctypes.c_ulong(_REMOUNT | _BIND | _READ_ONLY | kept), none)
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
