"""tag: give the proven candidate its version, on the remote."""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import Variant
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.errors import BrokenEvidence, UsageError
from gradatim.evidence.assembly import ReleaseFiles, Source, assemble
from gradatim.evidence.finding import UNSIGNED
from gradatim.evidence.found import Evaluated, Judged, Tagged
from gradatim.evidence.release_record import CONTRACT_FILE
from gradatim.evidence.statement import Bundle, Statement
from gradatim.files import digest_of, sha256_bytes
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.graph import CHECKS
from gradatim.publishers.retrieval import committed_paths
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.sync import has_evidence
from gradatim.registry.tagging import uses_names
from gradatim.registry.tags import SemVer, version_tag
from gradatim.registry.versions import Change, NextVersion, compare, next_version
from gradatim.releasing.preflight import refuse_uncommitted, refuse_unpinned
from gradatim.releasing.publishing import as_kept, draft_and_tag, sign_and_tag
from gradatim.releasing.signing import signing_for

_REASONS = 2
"""So many reasons for its version a release says in its stage's tag, where `status` and `history` find them."""


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    gate = candidate.workspace.evidence_path("gate")
    return {
        "gate": sha256_bytes(gate.read_bytes()) if gate.exists() else digest_of(None),
        "stage": digest_of(candidate.stage),
    }


def still_holds(candidate: Candidate, statement: Statement) -> bool:
    """Whether the tag is still there, here and on the remote, and of the version that is asked for, if any is."""
    model, tagged = candidate.registry.model(candidate.name), Tagged.if_any(statement)
    found = next((r for r in model.releases if tagged and r.tag == tagged.tag and r.active), None)
    if found is None or found.manifest not in statement.subjects.values():
        return False
    if candidate.wanted_version and SemVer.parse(candidate.wanted_version) != found.version:
        return False
    there = candidate.sync.refs.get(f"refs/tags/{found.tag}")
    return candidate.sync.remote is None or (there == found.tag_id and has_evidence(found, candidate.sync))


def run(candidate: Candidate) -> Outcome:
    """Upload drafts, then create version, stage, evidence and signature on the remote in one push."""
    gate = candidate.workspace.evidence("gate")
    variant = chosen_variant(candidate, gate)
    if gate.verdict is not Verdict.PASS:
        return Outcome("refused by the gates: nothing was tagged", gate.subjects, gate.verdict)
    stage = stage_of(candidate)
    already = released_already(candidate, variant, stage)
    if already is not None:
        if not has_evidence(already, candidate.sync):
            _repair(candidate, variant, already, stage)
        return _outcome(
            candidate, variant, already.tag, str(already.version), f"{already.tag} holds these bytes already"
        )
    refuse_unpinned(candidate)
    refuse_uncommitted(candidate)
    signing = signing_for(candidate.contract, stage)
    coming = upcoming(candidate, variant, stage)
    files = as_kept(
        candidate.repository,
        _files(
            candidate, variant, str(coming.version), _previous(coming), stage, candidate.repository.head()
        ),
    )
    told = {**candidate.approval(stage).told, "reason": "; ".join(coming.reasons[:_REASONS])}
    done, tagged, _ = draft_and_tag(candidate.repository, files, candidate.publishers(), signing, told)
    where = f" on {done.remote}" if done.remote else ", in this repository alone: it has no remote"
    signed = UNSIGNED if tagged.signature is None else "signed"
    said = f"{files.tag}{where}, {signed}, {coming.reasons[0]}"
    return _outcome(candidate, variant, files.tag, str(coming.version), said, coming)


def _repair(candidate: Candidate, variant: Variant, tagged: TaggedRelease, stage: str) -> None:
    """Give a tag whose evidence the remote lacks that evidence back, if it is the very same.

    Raises:
        BrokenEvidence: what is here is not what the tag vouches for.
        EnvironmentLacks: the remote does not keep it.
    """
    files = as_kept(
        candidate.repository,
        _files(candidate, variant, str(tagged), tagged.trailers.get("previous"), stage, tagged.commit),
    )
    if files.record.digest != tagged.record:
        raise BrokenEvidence(
            f"{tagged.tag} holds these bytes, the remote has no evidence for it, and what is here is not the evidence that the "
            f"tag vouches for. Run this in the clone or the CI run that made {tagged.tag}, or release a new version."
        )
    sign_and_tag(candidate.repository, files, None)


def chosen_variant(candidate: Candidate, gate: Statement) -> Variant:
    """The variant that the gates chose.

    Raises:
        BrokenEvidence: it is not among the variants that are there now.
    """
    name = Judged.of(gate).chosen
    found = next((variant for variant in candidate.forms.all if variant.name == name), None)
    if found is None or gate.subjects.get(found.name) != found.manifest.digest:
        raise BrokenEvidence("The evidence of `gate` is of another model. Run: gradatim run --until gate")
    return found


def released_already(candidate: Candidate, variant: Variant, stage: str) -> TaggedRelease | None:
    """The release of this stage (or, for the last one, the full release) that has these very bytes."""
    same = candidate.registry.with_manifest(variant.manifest.digest, candidate.name)
    last = stage == candidate.contract.ladder[-1]
    return next(
        (r for r in reversed(same) if r.stage == stage or (last and not r.version.is_prerelease)), None
    )


def upcoming(candidate: Candidate, variant: Variant, stage: str) -> NextVersion:
    """The version that the models ask for."""
    rung = candidate.contract.parts.stages[stage]
    last = stage == candidate.contract.ladder[-1]
    suffix = rung.tag if rung.tag is not None else None if last else stage
    model = candidate.registry.model(candidate.name)
    return next_version(
        model, _change(candidate, variant), suffix=suffix or None, wanted=candidate.wanted_version
    )


def _change(candidate: Candidate, variant: Variant) -> Change | None:
    found = Evaluated.if_any(candidate.workspace.evidence("evaluate"))
    if found is None or variant.name not in found.variants or BASELINE not in found.variants:
        return None
    old, new, task = found.variants[BASELINE], found.variants[variant.name], candidate.contract.parts.task
    before = candidate.replaced.contract.parts.model.inputs
    given = candidate.contract.parts.model.inputs.items()
    return compare(
        old.signature,
        new.signature,
        old_labels=old.labels,
        new_labels=new.labels,
        renamed={str(was): now for now, was in task.renamed.items()} if task else {},
        scores=(old.scores, new.scores),
        filled={name: said.value for name, said in given if said.value is not None and name not in before},
        changed=new.changed,
        of=found.rows if new.compared is None else new.compared,
    )


def stage_of(candidate: Candidate) -> str:
    """The stage to tag for.

    Raises:
        UsageError: the branch holds none.
    """
    if candidate.stage is None:
        branch = candidate.place.branch or "a detached HEAD"
        stages = ", ".join(
            f"{name} ({stage.branch})" for name, stage in candidate.contract.parts.stages.items()
        )
        raise UsageError(
            f"No stage belongs to {branch}, so there is nothing to tag. Stages and branches: {stages}."
        )
    return candidate.stage


def _previous(coming: NextVersion) -> str | None:
    return str(coming.previous) if coming.previous else None


def _files(
    candidate: Candidate, variant: Variant, version: str, previous: str | None, stage: str, commit: str
) -> ReleaseFiles:
    statements = [s for s in (candidate.workspace.statement(step.name) for step in CHECKS) if s is not None]
    beside: dict[str, Source] = {
        **candidate.workspace.beside_the_model,
        CONTRACT_FILE: candidate.contract.path,
    }
    said = candidate.contract.parts.model
    path = candidate.from_top(said.path if said.path and not said.in_places else candidate.contract.path.name)
    named = candidate.contract.parts.registry.tags == "named" or uses_names(
        candidate.registry, candidate.name
    )
    return assemble(
        variant.manifest,
        variant.folder,
        Bundle(tuple(statements)),
        tag=version_tag(candidate.name, SemVer.parse(version), several=named),
        version=version,
        stage=stage,
        variant=variant.name,
        commit=commit,
        previous=previous,
        committed=committed_paths(candidate.repository, commit, variant.manifest, path),
        others=beside,
    )


def _outcome(
    candidate: Candidate,
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
        "commit-sha": candidate.repository.head(),
        "manifest": variant.manifest.digest,
    }
    found = Tagged(tag, version, outputs, tuple(coming.reasons) if coming else ())
    return Outcome(summary, {variant.name: variant.manifest.digest}, Verdict.PASS, found=found)
