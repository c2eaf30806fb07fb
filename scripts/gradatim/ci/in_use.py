"""Which CI system a repository is built by, told by what lies in it and where it was cloned from."""

from __future__ import annotations

from gradatim.errors import GradatimError
from gradatim.registry.git import Repository

SYSTEMS = ("github", "gitlab")
GITLAB_FILE = ".gitlab-ci.yml"


def in_use(repository: Repository) -> str | None:
    """One of ``SYSTEMS``; None where neither leaves a trace. Where both do, the remote's address decides."""
    found = {
        "github": (repository.root / ".github").is_dir(),
        "gitlab": (repository.root / GITLAB_FILE).is_file(),
    }
    try:
        address = repository.remote_url() or ""
    except GradatimError:
        address = ""
    named = next((system for system in SYSTEMS if system in address), None)
    traces = [system for system in SYSTEMS if found[system]]
    if len(traces) == 1:
        return traces[0]
    return named or next(iter(traces), None)
