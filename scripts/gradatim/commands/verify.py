"""gradatim verify: is this release complete, proven and untouched?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.commands.registry_view import RegistryView
    from gradatim.contract.reading import ReadContract
    from gradatim.evidence.authenticity import Trust
    from gradatim.evidence.finding import Verification
    from gradatim.evidence.signatures import Signatures
    from gradatim.registry.git import Repository
    from gradatim.registry.history import Registry, Release
    from gradatim.registry.sync import Sync

_SAID = {
    "proven": "is complete, proven and untouched, says {vouched}",
    "no gates": "is complete and untouched, says {vouched}. It has no gates: nothing was demanded of it",
    "self-consistent": "is self-consistent, origin not proven: its files agree with each other, and neither a tag nor a "
    "trusted signature says that they are the release. Verify it beside its repository, or with --key; --self-consistent "
    "takes it as it is",
    "altered": "is altered",
    "refused": "is not to be trusted",
}


@click.command("verify", short_help="Is this release complete, proven and untouched?")
@click.argument("what", metavar="VERSION|STAGE|FOLDER|FILE")
@options.contract
@click.option("--offline", is_flag=True, help="Do not ask the remote.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True,
              help="A download that must be exactly this release; may be given several times.")  # fmt: skip
@click.option("--self-consistent", is_flag=True,
              help="Take a folder whose files agree with each other, although nothing proves where it comes from.")  # fmt: skip
@click.option("--replay", is_flag=True,
              help="Make every verdict again from the counts and rounds in the evidence; neither model nor data is needed.")  # fmt: skip
@click.option("--policy", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Judge the release by gates of your own, by its evidence alone: a file with `gates:` as in a contract.")  # fmt: skip
@click.option("--signed", is_flag=True, help="Refuse an unsigned release, whatever its stage demands.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
              help="Public key (PEM) that must have signed, in place of the contract's `signing`.")  # fmt: skip
@click.option("--identity", metavar="WHO", multiple=True,
              help="Who must have signed through sigstore, in place of the contract's `signing`; needs --issuer.")  # fmt: skip
@click.option("--issuer", metavar="ADDRESS", help="Who vouches for --identity.")
@options.as_json
def command(
    what: str,
    contract_path: str | None,
    offline: bool,
    folder: tuple[Path, ...],
    self_consistent: bool,
    replay: bool,
    policy: Path | None,
    signed: bool,
    key: tuple[Path, ...],
    identity: tuple[str, ...],
    issuer: str | None,
    json_wanted: bool,
) -> int:
    """Compare tag, manifest, evidence, signature and every byte wherever the release is kept; name all that does not fit.

    A version or a stage is looked up in git. A release folder is held against itself and, offline, against the tag of its
    version in the repository here, or in the one that it lies in. For any other file it is told which release it belongs
    to. Signatures are checked offline, by what the contract says under `signing`. With --replay every verdict is made again
    from the evidence, and with --policy your own gates judge it.

    \b
    proven           a tag or a trusted signature vouches for every byte          exit 0
    self-consistent  the files agree; nothing proves where they come from         exit 3, or 0 with --self-consistent
    altered          something contradicts the release                            exit 3

    \b
    Examples:
      gradatim verify v1.1.0
      gradatim verify production
      gradatim verify releases/v1.1.0
      gradatim verify download/v1.1.0 --key release.pub
      gradatim verify download/v1.1.0 --replay --policy ours.yml
      gradatim verify model/digits.onnx
    """
    from gradatim.commands.registry_view import contract_nearby
    from gradatim.errors import InvalidInput, UsageError
    from gradatim.evidence.authenticity import Trust
    from gradatim.progress import show_on

    show_on(options.progress())
    if bool(identity) != bool(issuer):
        raise UsageError(
            "--identity and --issuer belong together: a name means something to its issuer only."
        )
    given = Trust(key, identity, issuer)
    path = Path(what)
    if path.is_dir():
        signatures = _signatures(contract_nearby(contract_path), given, demanded=signed)
        found = _verify_folder(path, contract_path, signatures)
        found = _second_opinion(found, lambda name: (path / name).read_bytes(), replay, policy)
        return _tell(found, json_wanted=json_wanted, self_consistent=self_consistent)
    if path.is_file():
        return _verify_file(path, contract_path, json_wanted=json_wanted)
    if path.suffix in (".onnx", ".pt2", ".safetensors") or "/" in what:
        raise InvalidInput(
            f"There is no file or folder {what}. Name a version, a stage, or a path that exists."
        )
    from gradatim.commands.registry_view import open_registry
    from gradatim.registry.sync import sync, sync_ledger
    from gradatim.releasing.verification import verify_version

    view = open_registry(contract_path, fetch=False, offline=True)
    synced = None if offline else sync(view.repository, evidence=False)
    if synced is not None:
        view = open_registry(contract_path, fetch=False, offline=True)
    release = _found(view, what, synced)
    if synced is not None and release.manifest is not None:
        sync_ledger(view.repository, synced, release.manifest)
    signatures = _signatures(view.contract, given, demanded=signed)
    result = verify_version(
        view.repository, view.registry, release, sync=synced, folders=folder, signatures=signatures
    )
    if release.stage in view.approved and not _approved(view, release):
        result = replace(
            result, notes=(*result.notes, f"no approval of {release} for {release.stage} is recorded")
        )
    result = _second_opinion(result, lambda name: _kept(view, release, name), replay, policy)
    return _tell(result, json_wanted=json_wanted)


def _found(view: RegistryView, what: str, synced: Sync | None) -> Release:
    """The release of a name; where the remote was not heard, that it is not here says little."""
    from gradatim.errors import EnvironmentLacks, UsageError

    try:
        return view.registry.find(what, view.model)
    except UsageError as error:
        if synced is None or synced.reached or synced.remote is None:
            raise
        raise EnvironmentLacks(f"{error} So it is here; the remote was not heard: {synced.reason}") from error


def _kept(view: RegistryView, release: Release, name: str) -> bytes:
    """What git keeps of a release."""
    from gradatim.registry.ledger import open_ledger

    return open_ledger(view.repository, release.manifest or "", fetch=False).read(f"{release}/{name}")


def _second_opinion(
    found: Verification, read: Callable[[str], bytes], replay: bool, policy: Path | None
) -> Verification:
    """The verdicts made again, and those of other gates; nothing where the evidence itself does not hold."""
    if any(
        finding.problem in ("missing evidence", "broken evidence", "broken record")
        for finding in found.findings
    ):
        return found
    from gradatim.contract.policy import read_policy
    from gradatim.evidence import opinion
    from gradatim.evidence.release_record import EVIDENCE_FILE, RECORD_FILE, ReleaseRecord
    from gradatim.evidence.statement import Bundle

    evidence = Bundle.from_bytes(read(EVIDENCE_FILE))
    variant = ReleaseRecord.from_bytes(read(RECORD_FILE)).variant
    opinions = [opinion.replayed(evidence, variant)] if replay else []
    if policy is not None:
        grounds = opinion.asked_of(evidence)
        rules = read_policy(policy, grounds.task if grounds is not None else None)
        opinions.append(opinion.judged_by(rules, evidence, variant, policy.name))
    return opinion.with_opinion(found, opinions)


def _signatures(contract: ReadContract | None, given: Trust, *, demanded: bool) -> Signatures:
    """Whose signatures count: those that the command line names, which must then be there, else the contract's."""
    from gradatim.evidence.signatures import Signatures

    known = Signatures()
    if contract is not None:
        from gradatim.releasing.signing import signatures_of

        known = signatures_of(contract)
    if given:
        return replace(known, trust=given, demanded=True)
    return replace(known, demanded=demanded)


def _approved(view: RegistryView, release: Release) -> bool:
    """Whether the tag that gave a release its stage names somebody who approved it."""
    given = view.registry.model(release.model or "").assignments
    mine = [a for a in given if a.release == release and a.stage == release.stage and a.assigned]
    return any(assignment.trailers.get("approval") for assignment in mine)


def _verify_folder(path: Path, contract_path: str | None, signatures: Signatures) -> Verification:
    from gradatim.evidence.verify import verify_folder
    from gradatim.releasing.verification import held_by_tag

    found = verify_folder(path, signatures=signatures)
    held = (held_by_tag(found, path, *beside) for beside in _beside(path, contract_path))
    return next((result for result in held if result is not None), found)


def _beside(path: Path, contract_path: str | None) -> Iterator[tuple[Repository, Registry]]:
    """The repository in which one stands, then the one in which a folder lies, as far as there are any."""
    import contextlib

    from gradatim.commands.registry_view import open_registry
    from gradatim.errors import EnvironmentLacks
    from gradatim.registry.downloaded import without_settings
    from gradatim.registry.reading import read
    from gradatim.subversion import checkout

    with contextlib.suppress(EnvironmentLacks):
        view = open_registry(contract_path, fetch=False, offline=True)
        yield view.repository, view.registry
    with (
        contextlib.suppress(EnvironmentLacks),
        without_settings(checkout.open(path.resolve().parent)) as around,
    ):
        yield around, read(around)


def _verify_file(path: Path, contract_path: str | None, *, json_wanted: bool) -> int:
    from gradatim.commands.registry_view import open_registry
    from gradatim.releasing.verification import releases_with_file

    view = open_registry(contract_path, fetch=False)
    found = releases_with_file(view.repository, view.registry, path)
    if json_wanted:
        options.print_json(
            {"file": str(path), "releases": [{"tag": r.tag, "path": e.path} for r, e in found]}
        )
    elif found:
        for release, entry in found:
            click.echo(f"{path} is {entry.path} of {release.tag}, byte for byte")
    else:
        click.echo(
            f"{path} belongs to no release that is known here: it was altered, or never released.", err=True
        )
    return 0 if found else 3


def _tell(result: Verification, *, json_wanted: bool, self_consistent: bool = False) -> int:
    accepted = result.holds and (result.answer != "self-consistent" or self_consistent)
    if json_wanted:
        options.print_json({**asdict(result), "answer": result.answer, "holds": result.holds})
        return 0 if accepted else 3
    for place in result.checked:
        click.echo(options.row(f"  {click.style('holds', fg='green')}   ", place))
    for note in result.notes:
        click.echo(options.row(f"  {click.style('note', fg='yellow')}    ", note))
    for finding in result.findings:
        click.echo(
            options.row(f"  {click.style('wrong', fg='red')}   ", f"{finding.problem}: {finding.text}")
        )
    name = " ".join(part for part in (result.name, result.version) if part) or "this"
    said = _SAID[result.answer].format(vouched=result.vouched)
    if result.holds:
        click.echo(
            options.row("", f"{name} {said} ({len(result.checked)} places compared, {result.signature})")
        )
    else:
        click.echo(f"{name} {said}: {len(result.findings) or 'nothing could be compared, so 1'} finding(s)")
    return 0 if accepted else 3
