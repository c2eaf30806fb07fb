"""gradatim deploy: what a stage holds, put where it serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.contract.delivery import Deploy
    from gradatim.registry.history import Release
    from gradatim.releasing.deploying import Deployment


@click.command("deploy", short_help="Put what a stage holds where it serves.")
@click.argument("stage")
@click.option("--traffic", "percent", metavar="PERCENT", type=click.IntRange(0, 100), default=100, help="On KServe: its part of the traffic, beside the release that the stage held before.")  # fmt: skip
@options.contract
@options.dry_run
@options.as_json
def command(stage: str, percent: int, contract_path: str | None, dry_run: bool, json_wanted: bool) -> int:
    """Put the release that STAGE holds where the contract says, as `deploy` of the stage: a folder, your own command, or a
    cluster, whose manifests --dry-run prints.

    The release is verified first, and who deployed which bytes when and where is kept in git beside it. After a
    rollback the same command deploys what the stage holds then.

    \b
    Examples:
      gradatim deploy production --dry-run
      gradatim deploy production
      gradatim deploy production --traffic 5       # KServe's canary; without it, all
      gradatim deploy production --dry-run > manifests/production.yaml    # on Kubernetes, for GitOps
    """
    from gradatim.commands.opening import open_candidate
    from gradatim.releasing.deploying import deployments_of

    candidate = open_candidate(contract_path, stage)
    said, release = _held(candidate, stage)
    address, manifests = _where(candidate, stage, said, release, percent)
    if dry_run:
        record = {"stage": stage, "version": str(release), said.kind: address, "dry_run": True}
        told = manifests.rstrip() or f"would deploy {release} of {stage}: {said.kind} {address}"
        options.answer(json_wanted, {**record, "manifests": manifests or None}, told)
        return 0
    before = [
        one for one in deployments_of(candidate.repository, str(release.manifest)) if one.stage == stage
    ]
    done = deploy_held(candidate, stage, percent)
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(before[-1].at)) if before else None
    again = f", as before ({day} by {before[-1].by})" if before else ""
    options.answer(
        json_wanted, {**vars(done), "dry_run": False}, f"deployed {release} of {stage}: {done.place}{again}"
    )
    return 0


def deploy_held(candidate: Candidate, stage: str, percent: int = 100) -> Deployment:
    """Put what a stage holds where the contract says, on KServe for a part of the traffic; its release is verified first.

    Raises:
        UsageError: the stage says no place, or holds nothing.
        BrokenEvidence: the release does not verify.
        EnvironmentLacks: the place cannot be written, or the command fails.
    """
    from gradatim.releasing.deploying import deploy

    said, release = _held(candidate, stage)
    address, manifests = _where(candidate, stage, said, release, percent)
    candidate.workspace.prepare()
    return deploy(
        candidate.repository,
        release,
        stage,
        said.kind,
        address,
        root=candidate.root,
        retrieved=candidate.workspace.retrieved(str(release.manifest)),
        told=candidate.approval(stage).told,
        manifests=manifests,
    )


def _held(candidate: Candidate, stage: str) -> tuple[Deploy, Release]:
    from gradatim.errors import BrokenEvidence, UsageError
    from gradatim.releasing.verification import verify_version

    said = candidate.contract.parts.stages[stage].deploy
    if said is None:
        raise UsageError(
            f"{candidate.contract.where('stages', stage)}: `{stage}` does not say where to. Add, for example, "
            "deploy: {folder: /srv/models/NAME}"
        )
    holder = candidate.registry.model(candidate.name).holder(stage)
    release = holder.release if holder else None
    if release is None or release.manifest is None:
        raise UsageError(f"{stage} holds no release that gradatim made: there is nothing to deploy.")
    verified = verify_version(candidate.repository, candidate.registry, release, sync=candidate.sync)
    if not verified.holds:
        raise BrokenEvidence(
            f"{release.tag} is not deployed, since it does not verify. {verified.findings[0]}"
        )
    return said, release


def _where(candidate: Candidate, stage: str, said: Deploy, release: Release, percent: int) -> tuple[str, str]:
    """The address, and on Kubernetes the manifests."""
    from gradatim.errors import UsageError

    kserve = said.kubernetes in ("kserve", "kserve-percent")
    if percent < 100 and not kserve:
        raise UsageError(
            f"{candidate.contract.where('stages', stage)}: `--traffic` splits between releases on KServe alone. An Argo Rollout has "
            "steps of its own; elsewhere `gradatim canary --shift` runs your command."
        )
    if not said.kubernetes:
        return said.address, ""
    before = _before(candidate, stage, release) if percent < 100 else None
    address = said.address.replace("{version}", str(release))
    manifests = _manifests(candidate, stage, said, release, percent, before)
    return f"{address}, {percent} % beside {before}" if before else address, manifests


def _before(candidate: Candidate, stage: str, release: Release) -> Release:
    """What the stage held before, which keeps the rest of the traffic.

    Raises:
        UsageError: it held nothing.
    """
    from gradatim.errors import UsageError

    held = candidate.registry.model(candidate.name).held(stage)
    found = [one.release for one in held if one.release is not None and one.release.tag != release.tag]
    if not found:
        raise UsageError(
            f"{stage} held nothing before {release}: there is no release to split the traffic with."
        )
    return found[-1]


def _manifests(
    candidate: Candidate, stage: str, said: Deploy, release: Release, percent: int, before: Release | None
) -> str:
    from gradatim.checks.canary import rules_of
    from gradatim.checks.prometheus import Series
    from gradatim.errors import UsageError
    from gradatim.releasing.packaging import format_of
    from gradatim.releasing.servers import SERVERS
    from gradatim.rendering.kubernetes import Served, render_manifests
    from gradatim.rendering.monitoring import Watched

    plain = Series()
    watched = Watched(candidate.name, plain.requests, plain.failed, plain.latency, plain.label, {})
    format_ = "onnx"
    if said.storage:
        found, known = format_of(candidate.repository, release), SERVERS["kserve"].formats
        if found not in known:
            raise UsageError(f"KServe serves {', '.join(known)}, and {release.tag} is {found}.")
        format_ = known[found]
    source, rest = (said.address.replace("{version}", str(one)) for one in (release, before))
    beside = (str(before), rest) if before else None
    about = candidate.name, stage, str(release), str(release.manifest)
    served = Served(*about, source, format_, percent, beside)
    return render_manifests(str(said.kubernetes), served, watched, rules_of(candidate.contract, stage))
