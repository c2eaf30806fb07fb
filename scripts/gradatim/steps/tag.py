"""tag: give the proven candidate its version, on the remote."""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.candidate.candidate import BASELINE, Outcome, Release, Variant
from gradatim.errors import BrokenEvidence, UsageError
from gradatim.evidence.assembly import ReleaseFiles, Source, assemble
from gradatim.evidence.finding import UNSIGNED
from gradatim.evidence.release_record import BOM_FILE, CARD_FILE, SCORE_FILE
from gradatim.evidence.statement import Bundle, Statement
from gradatim.files import digest_of, sha256_bytes
from gradatim.gates.verdict import Verdict
from gradatim.publishers.retrieval import committed_paths
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.tagging import uses_names
from gradatim.registry.tags import SemVer, version_tag
from gradatim.registry.versions import Change, NextVersion, compare, next_version
from gradatim.releasing.publishing import as_kept, draft, sign_and_tag
from gradatim.releasing.signing import signing_for
from gradatim.signature import Signature

_PROVING = ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate")
_BESIDE = ("report.html", "golden.npz", CARD_FILE, BOM_FILE, SCORE_FILE)


def depends_on(release: Release) -> Mapping[str, str]:
    gate = release.workspace.evidence_path("gate")
    return {
        "gate": sha256_bytes(gate.read_bytes()) if gate.exists() else digest_of(None),
        "stage": digest_of([release.stage, release.wanted_version]),
    }


def still_holds(release: Release, statement: Statement) -> bool:
    """Whether the tag is still there, here and on the remote."""
    model = release.registry.model(release.name)
    found = next((r for r in model.releases if r.tag == statement.details.get("tag") and r.active), None)
    if found is None or found.manifest not in statement.subjects.values():
        return False
    there = release.sync.refs.get(f"refs/tags/{found.tag}")
    return release.sync.remote is None or there == found.tag_id


def run(release: Release) -> Outcome:
    """Upload drafts, then create version, stage, evidence and signature on the remote in one push."""
    gate = release.evidence("gate")
    variant = chosen_variant(release, gate)
    if gate.verdict is not Verdict.PASS:
        return Outcome("refused by the gates: nothing was tagged", gate.subjects, gate.verdict)
    stage = stage_of(release)
    already = released_already(release, variant, stage)
    if already is not None:
        return _outcome(
            release, variant, already.tag, str(already.version), f"{already.tag} holds these bytes already"
        )
    _refuse_uncommitted(release)
    signing = signing_for(release.contract, stage)
    coming = upcoming(release, variant, stage)
    files = as_kept(release.repository, _files(release, variant, coming, stage))
    for publisher in release.publishers():
        draft(release.repository, files, publisher)
    done, tagged = sign_and_tag(release.repository, files, signing, release.approval(stage).told)
    where = f" on {done.remote}" if done.remote else ", in this repository alone: it has no remote"
    signed = UNSIGNED if tagged.signature is None else "signed"
    said = f"{files.tag}{where}, {signed}, {coming.reasons[0]}"
    return _outcome(release, variant, files.tag, str(coming.version), said, coming)


def chosen_variant(release: Release, gate: Statement) -> Variant:
    """The variant that the gates chose.

    Raises:
        BrokenEvidence: it is not among the variants that are there now.
    """
    name = gate.details.get("chosen")
    found = next((variant for variant in release.variants() if variant.name == name), None)
    if found is None or gate.subjects.get(found.name) != found.manifest.digest:
        raise BrokenEvidence("The evidence of `gate` is of another model. Run: gradatim run --until gate")
    return found


def released_already(release: Release, variant: Variant, stage: str) -> TaggedRelease | None:
    """The release of this stage (or, for the last one, the full release) that has these very bytes."""
    same = release.registry.with_manifest(variant.manifest.digest, release.name)
    last = stage == release.contract.ladder[-1]
    return next(
        (r for r in reversed(same) if r.stage == stage or (last and not r.version.is_prerelease)), None
    )


def upcoming(release: Release, variant: Variant, stage: str) -> NextVersion:
    """The version that the models ask for."""
    rung = release.contract.parts.stages[stage]
    last = stage == release.contract.ladder[-1]
    suffix = rung.tag if rung.tag is not None else None if last else stage
    model = release.registry.model(release.name)
    return next_version(
        model, _change(release, variant), suffix=suffix or None, wanted=release.wanted_version
    )


def _change(release: Release, variant: Variant) -> Change | None:
    found = release.evidence("evaluate").details.get("variants", {})
    if variant.name not in found or BASELINE not in found:
        return None
    task = release.contract.parts.task
    return compare(
        Signature.from_json(found[BASELINE]["signature"]),
        Signature.from_json(found[variant.name]["signature"]),
        new_labels=task.labels or None if task else None,
        changed=found[variant.name].get("changed"),
        of=release.evidence("evaluate").details.get("rows"),
    )


def stage_of(release: Release) -> str:
    """The stage to tag for.

    Raises:
        UsageError: the branch holds none.
    """
    if release.stage is None:
        branch = release.place.branch or "a detached HEAD"
        stages = ", ".join(
            f"{name} ({stage.branch})" for name, stage in release.contract.parts.stages.items()
        )
        raise UsageError(
            f"No stage belongs to {branch}, so there is nothing to tag. Stages and branches: {stages}."
        )
    return release.stage


def _refuse_uncommitted(release: Release) -> None:
    changed = release.repository.changed_files(untracked=False)
    if changed:
        files = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise UsageError(
            f"These files differ from the commit that would be tagged: {files}. Commit them (or put them back), then run again."
        )
    if not release.repository.tracks(release.contract.path):
        raise UsageError(
            f"{release.contract.path.name} is not committed, so no tag can vouch for it. Commit it, then run again."
        )
    release.repository.check_taggable()


def _files(release: Release, variant: Variant, coming: NextVersion, stage: str) -> ReleaseFiles:
    statements = [s for s in (release.workspace.statement(step) for step in _PROVING) if s is not None]
    folder = release.workspace.folder
    beside: dict[str, Source] = {name: folder / name for name in _BESIDE if (folder / name).exists()}
    beside["gradatim.yml"] = release.contract.path
    commit = release.repository.head()
    path = release.from_top(release.contract.parts.model.path or release.contract.path.name)
    named = release.contract.parts.registry.tags == "named" or uses_names(release.registry, release.name)
    return assemble(
        variant.manifest,
        variant.path if variant.path.is_dir() else variant.path.parent,
        Bundle(tuple(statements)),
        tag=version_tag(release.name, SemVer.parse(str(coming.version)), several=named),
        version=str(coming.version),
        stage=stage,
        variant=variant.name,
        commit=commit,
        previous=str(coming.previous) if coming.previous else None,
        committed=committed_paths(release.repository, commit, variant.manifest, path),
        others=beside,
    )


def _outcome(
    release: Release,
    variant: Variant,
    tag: str,
    version: str,
    summary: str,
    coming: NextVersion | None = None,
) -> Outcome:
    previous = str(coming.previous) if coming and coming.previous else ""
    outputs = {
        "version": version.removeprefix("v"),
        "tag": tag,
        "previous-version": previous.removeprefix("v"),
        "is-prerelease": str("-" in version).lower(),
        "commit-sha": release.repository.head(),
        "manifest": variant.manifest.digest,
    }
    details = {
        "tag": tag,
        "version": version,
        "ci": outputs,
        "reasons": list(coming.reasons) if coming else [],
    }
    return Outcome(summary, {variant.name: variant.manifest.digest}, Verdict.PASS, details=details)
