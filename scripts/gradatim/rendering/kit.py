"""Which kit a rendered file calls: the very one that renders it."""

from __future__ import annotations

from collections.abc import Iterable

from gradatim import __version__

REPOSITORY = "gradatim/gradatim"
"""The repository on GitHub that holds the kit, its actions and its reusable workflows."""

REF = f"v{__version__}"
"""The kit's own version."""


RAW = f"https://raw.githubusercontent.com/{REPOSITORY}"
"""Where single files of the kit are read from, at a tag or a commit."""


def requirement(ref: str = REF) -> str:
    """What pip is given: the kit alone, at a tag or a commit; what it needs comes from locks."""
    return f"gradatim @ git+https://github.com/{REPOSITORY}@{ref}"


def locks(ref: str = REF) -> str:
    """The folder of the kit's locks, at a tag or a commit: a file for the kit, and one for each extra."""
    return f"{RAW}/{ref}/actions/setup/locks"


def locked(extras: Iterable[str]) -> list[str]:
    """The names of the locks for a set of extras: torch comes without CUDA unless `gpu` is among them."""
    every = sorted(set(extras))
    light = () if "gpu" in every else ("torch", "transformers", "peft")
    return ["kit", *(f"{name}-cpu" if name in light else name for name in every)]


def install(folder: str, locks: str, downloads: str = "--no-cache-dir") -> list[str]:
    """The commands that put the kit on PATH, in an environment outside of the checkout, nothing without a hash but the kit.

    Args:
        folder: of the environment, in the shell's words.
        locks: the names of the locks, in the shell's words.
        downloads: what pip is told of earlier ones, in the shell's words.
    """
    pip = f"python -m pip install --quiet {downloads}"
    return [
        f"python3 -m venv --clear {folder}",
        f". {folder}/bin/activate",
        f'for lock in {locks}; do echo "--requirement $GRADATIM_LOCKS/$lock.txt"; done > {folder}/locks.txt',
        f"{pip} --require-hashes --requirement {folder}/locks.txt",
        f'{pip} --no-deps --no-build-isolation "$GRADATIM_KIT"',
        f'{{ test -z "$GRADATIM_REQUIREMENTS" || {pip} --requirement "$GRADATIM_REQUIREMENTS"; }}',
    ]
