"""Two hundred kills of a publish at random moments, to a folder, to moto's S3, to a real docker-registry and to a strict
stand-in of GitHub, signed or not.

    pytest tests/bench/test_publish_crashes.py -s

takes about two seconds a kill and prints where the kills hit; ``KILLS=20`` before it takes a sample. The end-to-end tests do the same six times.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from publishing.crashes import Seen, survive
from publishing.servers import Servers
from registry_examples import IDENTITY, new_repository
from signing_examples import signing_with, write_key

from gradatim.publishers.folder import FolderPublisher
from gradatim.publishers.publisher import Publisher

KILLS = int(os.environ.get("KILLS", "200"))


class FolderPlace:
    """A folder beside the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def publisher(self) -> Publisher:
        return FolderPublisher(self.folder, root=self.folder)

    def public(self, version: str) -> bool:
        return (self.folder / version).exists()

    def drafts(self) -> int:
        return sum(path.name.startswith(".") for path in self.folder.iterdir())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("kind", ["folder", "s3", "oci", "github"])
def test_two_hundred_kills_leave_two_hundred_complete_releases(
    kind: str,
    signed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    with contextlib.ExitStack() as running:
        place: Seen = FolderPlace(tmp_path / "releases")
        if kind != "folder":
            found = Servers(tmp_path, running).place(kind, tmp_path / "remote.git")
            for key, value in found.credentials.items():
                monkeypatch.setenv(key, value)
            place = found
        hit = survive(place, repo, KILLS, sign=signing_with(write_key(tmp_path)) if signed else None)
    with capsys.disabled():
        print(
            f"\n{kind}{', signed' if signed else ''}: {KILLS} kills, {KILLS} complete releases;",
            ", ".join(f"{n} {w}" for w, n in hit.items()),
        )
