"""Pointers that a place keeps for each stage, such as MLflow's aliases: they follow what git says the stage holds."""

from __future__ import annotations

from gradatim.errors import GradatimError
from gradatim.publishers.places import open_publisher, publications_of
from gradatim.publishers.publisher import StagePointers
from gradatim.registry.git import Repository
from gradatim.registry.history import Release
from gradatim.registry.ledger import open_ledger


def follow_rollback(repository: Repository, release: Release, stage: str) -> tuple[str, ...]:
    """Point every place to the release that a stage went back to.

    A place that cannot be written is no reason to keep a bad release in a stage: it is told, and the next release or
    the same rollback again will point there.

    Args:
        repository: that records where the release is public.
        release: what the stage holds now.
        stage: the stage.

    Returns:
        which pointers still name another release, and why.
    """
    if release.manifest is None:
        return ()
    notes = []
    ledger = open_ledger(repository, release.manifest)
    for publication in publications_of(ledger, str(release)):
        try:
            publisher = open_publisher(publication.publisher, publication.location, root=repository.root)
            if isinstance(publisher, StagePointers):
                publisher.point(publication, stage)
        except GradatimError as error:
            notes.append(f"{publication.location} may still show another release as {stage}: {error}")
    return tuple(notes)
