"""A repository that lies around a download: what its tags say is read, and its settings, which name programs, are not."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gradatim.registry.git import Repository
from gradatim.registry.git_process import call_git
from gradatim.registry.history import LEDGER


@contextlib.contextmanager
def without_settings(repository: Repository) -> Iterator[Repository]:
    """The same objects, tags and evidence in a git folder of our own, for as long as the block lasts.

    Its git would run what the settings name to check a signature, or to fetch an object that is missing. What another version control
    keeps is read where it is.

    Raises:
        EnvironmentLacks: the references cannot be listed.
    """
    if repository.central:
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix="gradatim-") as name:
        place = Path(name)
        call_git(["init", "--quiet", "--bare", name])
        (place / "objects" / "info" / "alternates").write_bytes(
            os.fsencode(repository.git_dir / "objects") + b"\n"
        )
        listing = repository.run(
            "for-each-ref",
            "--format=%(objectname) %(refname)",
            "refs/tags",
            LEDGER,
            environment={"GIT_ALLOW_PROTOCOL": "none"},
        )
        (place / "packed-refs").write_bytes(listing)
        found = Repository(repository.root, place, shallow=repository.shallow)
        found._at = [f"--git-dir={name}"]
        yield found
