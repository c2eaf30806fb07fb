"""publish: put the tagged release where its users find it."""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.errors import BrokenEvidence, InvalidInput, UsageError
from gradatim.evidence.assembly import ReleaseFiles, Source
from gradatim.evidence.found import Published, Tagged
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import MANIFEST_FILE, RECORD_FILE, SIGNATURE_FILE, ReleaseRecord
from gradatim.evidence.statement import Statement
from gradatim.files import digest_of, sha256_bytes
from gradatim.gates.verdict import Verdict
from gradatim.publishers.places import publications_of
from gradatim.publishers.retrieval import retrieve
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.ledger import Ledger, open_ledger
from gradatim.releasing.publishing import attested_of, publish
from gradatim.releasing.signing import signatures_of


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    tagged = _tagged(candidate)
    return {
        "release": tagged.record or digest_of(tagged.tag) if tagged else digest_of(None),
        "contract": candidate.digests.part("publish"),
    }


def still_holds(candidate: Candidate, statement: Statement) -> bool:
    """Whether git records the release as public at every place, and every place still has it whole."""
    tagged = _tagged(candidate)
    if tagged is None or tagged.manifest is None:
        return False
    places = candidate.publishers()
    public = publications_of(open_ledger(candidate.repository, tagged.manifest), str(tagged.version))
    files = _files(candidate, tagged)
    return all(place.publication(files) in public and place.holds(files) for place in places)


def intention(candidate: Candidate) -> dict[str, str]:
    """What ``run`` would write, by place; every place is asked what it has already.

    Raises:
        UsageError: nothing is tagged.
        EnvironmentLacks: a place cannot be reached, or there are no credentials for it.
    """
    if not candidate.contract.parts.publish.to:
        return {"places": "no place: the contract names no publisher"}
    files = _files(candidate, _tagged_and_proven(candidate))
    _refuse_unsigned(candidate, files)
    size = sum(entry.size for entry in files.entries)
    new = f"{len(files.entries)} files, {size} bytes, as {files.tag}"
    return {
        place.publication(files).location: "is there already" if place.holds(files) else new
        for place in candidate.publishers()
    }


def run(candidate: Candidate) -> Outcome:
    """Upload, read back, make public, look again, record; what is there already is left alone."""
    tagged = _tagged_and_proven(candidate)
    files = _files(candidate, tagged)
    _refuse_unsigned(candidate, files)
    places = candidate.publishers()
    with candidate.progress.task("publish", len(places) or None) as advance:
        done = publish(candidate.repository, files, places, progress=lambda note: advance(0, note))
    here = f"{candidate.root.resolve()}/"  # as the contract writes its folders
    where = ", ".join(publication.location.removeprefix(here) for publication in done.publications)
    said = (
        f"{tagged.tag} in {where}"
        if where
        else f"{tagged.tag}: the contract names no publisher, the tag is the release"
    )
    found = Published(tagged.tag, {"released": "true", "tag": tagged.tag})
    return Outcome(said, {files.record.variant: files.manifest.digest}, Verdict.PASS, found=found)


def _tagged_and_proven(candidate: Candidate) -> TaggedRelease:
    tagged = _tagged(candidate)
    if tagged is None:
        raise UsageError("Nothing is tagged that could be published. Run: gradatim run, or gradatim tag")
    if tagged.manifest is None or tagged.record is None:
        raise BrokenEvidence(
            f"The tag {tagged.tag} names no manifest, so nothing proves which bytes it means. Run: gradatim tag"
        )
    return tagged


def _tagged(candidate: Candidate) -> TaggedRelease | None:
    """The tag that started this run, or the one that the tag step made."""
    model = candidate.registry.model(candidate.name)
    name = candidate.place.tag
    if name is None:
        evidence = candidate.workspace.statement("tag")
        made = Tagged.if_any(evidence) if evidence and evidence.verdict is Verdict.PASS else None
        name = made.tag if made else None
    return next((found for found in model.releases if found.tag == name and found.active), None)


def _files(candidate: Candidate, tagged: TaggedRelease) -> ReleaseFiles:
    """The release put together again from what git keeps, the model's bytes from wherever they are."""
    ledger = open_ledger(candidate.repository, str(tagged.manifest))
    record_bytes, manifest_bytes = ledger.read_all([f"{tagged.version}/{RECORD_FILE}", MANIFEST_FILE])
    record, manifest = ReleaseRecord.from_bytes(record_bytes), Manifest.from_bytes(manifest_bytes)
    if record.digest != tagged.record or manifest.digest != tagged.manifest:
        raise BrokenEvidence(
            f"What git keeps of {tagged.tag} is not what its tag vouches for. See: gradatim verify {tagged.tag}"
        )
    sources: dict[str, Source] = {RECORD_FILE: record.to_bytes(), MANIFEST_FILE: manifest.to_bytes()}
    more = [entry.path for entry in record.files if entry.path not in sources]
    sources |= zip(more, ledger.read_all([f"{tagged.version}/{path}" for path in more]), strict=True)
    local = _here(candidate, manifest)
    if not local:
        path = candidate.contract.parts.model.path
        found = retrieve(
            candidate.repository,
            tagged.commit,
            candidate.workspace.retrieved(str(tagged.manifest)),
            manifest=tagged.manifest,
            version=str(tagged.version),
            path=candidate.from_top(path) if path else None,
        )
        local = {name: found.folder / name for name in found.files}
    files = ReleaseFiles(tagged.tag, record, manifest, {**sources, **local})
    return (
        files
        if tagged.signature is None
        else files.with_signature(_signature(ledger, tagged), attested_of(ledger, str(tagged.version)))
    )


def _signature(ledger: Ledger, tagged: TaggedRelease) -> bytes:
    signature = ledger.read(f"{tagged.version}/{SIGNATURE_FILE}")
    if sha256_bytes(signature) != tagged.signature:
        raise BrokenEvidence(
            f"The signature that git keeps of {tagged.tag} is not what its tag vouches for. "
            f"See: gradatim verify {tagged.tag}"
        )
    return signature


def _refuse_unsigned(candidate: Candidate, files: ReleaseFiles) -> None:
    """A stage that demands a signature takes no tag without a good one, whoever pushed it."""
    signatures = signatures_of(candidate.contract)
    if signatures.wanted(files.record):
        _, _, findings = signatures.judge(files.signature, files.record, files.manifest, files.attested)
        if findings:
            raise BrokenEvidence(f"{files.tag} may not be published. {findings[0]}")


def _here(candidate: Candidate, manifest: Manifest) -> dict[str, Source]:
    """The model's files in this checkout, when one of the variants is exactly the release."""
    try:
        variants = candidate.forms.all
    except InvalidInput:  # not built here, or something else is: the released bytes are elsewhere
        return {}
    for variant in variants:
        if variant.manifest.digest == manifest.digest:
            return {entry.path: variant.folder / entry.path for entry in manifest.files}
    return {}
