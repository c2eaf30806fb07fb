"""Publishing that is killed without warning, again and again."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Protocol

from children import in_a_child
from registry_examples import clone, git, release_files

from gradatim.publishers.publisher import Publisher
from gradatim.registry.git import Repository
from gradatim.registry.reading import read
from gradatim.registry.sync import sync
from gradatim.releasing.publishing import Sign, as_kept, publish
from gradatim.releasing.verification import verify_version


class Seen(Protocol):
    """A place, as far as a crash is concerned."""

    def publisher(self) -> Publisher: ...

    def public(self, version: str) -> bool: ...

    def drafts(self) -> int: ...


def problems(where: Path, version: str) -> list[str]:
    """What `gradatim verify` finds wrong with a version, in a clone that asks its remote."""
    repository = Repository.find(where)
    state = sync(repository)
    registry = read(repository, "digits")
    found = verify_version(repository, registry, registry.find(version, "digits"), sync=state)
    assert found.holds is (not found.findings and bool(found.checked))
    return [f"{finding.problem}: {finding.where}" for finding in found.findings]


def survive(
    place: Seen, repo: Path, rounds: int, *, seed: int = 7, size: int = 300_000, sign: Sign | None = None
) -> dict[str, int]:
    """Kill a publish at a random moment and run it again, so many times; each must end as one complete release.

    Args:
        place: what is published to.
        repo: a repository with the bare remote ``remote.git`` beside it.
        rounds: how often.
        seed: of the moments.
        size: bytes of each model.
        sign: makes each release's signature; None for unsigned ones.

    Returns:
        how many kills hit before the tag, between tag and publication, and when it was public.
    """
    started = time.monotonic()
    publish(Repository.find(repo), release_files(repo, "v0.1.0", b"w" * size), [place.publisher()], sign=sign)
    whole = time.monotonic() - started
    moments = random.Random(seed)
    other = clone(repo.parent / "remote.git", repo.parent / "watcher")
    hit = {"before the tag": 0, "before it is public": 0, "afterwards": 0}
    for number in range(1, rounds + 1):
        version = f"v1.{number}.0"
        release = release_files(repo, version, os.urandom(size))

        def work(release=release) -> None:  # type: ignore[no-untyped-def]
            publish(Repository.find(repo), release, [place.publisher()], sign=sign)

        in_a_child(work, kill_after=moments.uniform(0, whole))
        tagged = version in git(repo.parent / "remote.git", "tag").split()
        public = place.public(version)
        hit["afterwards" if public else "before it is public" if tagged else "before the tag"] += 1
        if public:
            kept = as_kept(Repository.find(repo), release)
            assert (kept.signature is not None) == (sign is not None)
            assert place.publisher().holds(kept), "half a release was public"
        work()
        assert problems(other, version) == []
        assert place.drafts() == 0, "a draft was left behind"
    tags = git(repo, "ls-remote", "--tags", "--refs", "origin").splitlines()
    assert sum("#production#" not in line for line in tags) == rounds + 1
    return hit
