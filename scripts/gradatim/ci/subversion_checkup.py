"""What would surprise somebody who releases from a Subversion working copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from gradatim.ci.github_checkup import Finding
from gradatim.contract.schema import Contract
from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.registry.history import Registry
from gradatim.subversion.working_copy import WorkingCopy


def check_working_copy(contract: Contract, repository: WorkingCopy, registry: Registry) -> Iterator[Finding]:
    """The tools, the working copy itself, the branches of the stages, and tags that say less than they seem to."""
    if shutil.which("svnmucc") is None:
        text = "It makes tag and evidence one commit, and is not installed: apt install subversion"
        yield Finding("no svnmucc", "this machine", text)
    try:
        repository.check_taggable()
    except UsageError as error:
        yield Finding("not one revision", "working copy", str(error), serious=False)
    try:
        there = repository.branches()
    except EnvironmentLacks as error:
        yield Finding("no server", "Subversion", str(error))
        return
    for name, stage in contract.stages.items():
        if stage.branch is not None and stage.branch not in there:
            where = "trunk" if stage.branch == "trunk" else f"branches/{stage.branch}"
            yield Finding(
                "no branch",
                where,
                f"The stage {name} has no folder {where} beside `tags` yet. Make it with svn copy.",
            )
    for warning in registry.warnings:
        yield Finding("odd tag", "tags", warning, serious=False)
