"""The checks of a language model's files, in a process of their own that ends: a chat template may loop for ever or fill the memory, and
a pattern in a config may try every way through a name.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gradatim.code.surroundings import allowed
from gradatim.errors import InvalidInput
from gradatim.models.adapter import check_adapter
from gradatim.models.language_files import FileCheck, check_language_files

SECONDS = 30
"""Of the processor; by the clock ten times as many, for the machine may be busy."""
_MEMORY = 2 << 30
_LONGEST = 4000
"""Characters that are told of a fault."""


def check_files(
    model: Path | None, baseline: Path | None, base: Path, adapter: Path | None, accepted: tuple[str, ...]
) -> list[FileCheck]:
    """``check_language_files`` of a model beside a baseline, then ``check_adapter`` of an adapter on its base; either may be None.

    Raises:
        InvalidInput: as they do; or looking takes more than 30 seconds of the processor or 2 GB.
    """
    if model is None and adapter is None:
        return []
    paths = [str(path) if path is not None else None for path in (model, baseline, base, adapter)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gradatim.models.file_checks"],
            input=json.dumps({"paths": paths, "accepted": accepted, "seconds": SECONDS}),
            env={**allowed(), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=10 * SECONDS,
        )
        said = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        said = None
    if said is None:
        raise InvalidInput(
            f"The files of {model or adapter} cannot be looked at: their chat template or a pattern in their config takes more than "
            f"{SECONDS} s or 2 GB. It would hold or fill whatever loads it: write it anew, or take it out."
        )
    if "refused" in said:
        raise InvalidInput(said["refused"])
    return [FileCheck(name, fault) for name, fault in said["checks"]]


def _checked(paths: list[str | None], accepted: list[str]) -> Iterator[FileCheck]:
    model, baseline, base, adapter = (Path(path) if path is not None else None for path in paths)
    if model is not None:
        yield from check_language_files(model, baseline, tuple(accepted))
    if adapter is not None and base is not None:
        yield from check_adapter(base, adapter, tuple(accepted))


def _main() -> None:
    asked = json.load(sys.stdin)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"],) * 2)
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY,) * 2)
    try:
        checks = [
            (one.name, one.fault and one.fault[:_LONGEST])
            for one in _checked(asked["paths"], asked["accepted"])
        ]
        said: dict[str, object] = {"checks": checks}
    except InvalidInput as error:
        said = {"refused": str(error)}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    _main()
