"""Which CI system a repository is built by, told by what lies in it and where it was cloned from."""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.errors import GradatimError
from gradatim.registry.git import Repository


def in_use(repository: Repository, files: Mapping[str, str]) -> str | None:
    """The CI system that leaves a trace; None where none does. Where several do, the remote's address decides.

    Args:
        files: where the file of each system lies; a folder that would hold it is a trace of it too.
    """
    traces = [name for name, path in files.items() if (repository.root / path.partition("/")[0]).exists()]
    try:
        address = repository.remote_url() or ""
    except GradatimError:
        address = ""
    named = next((name for name in files if name in address), None)
    if len(traces) == 1:
        return traces[0]
    return named or next(iter(traces), None)
