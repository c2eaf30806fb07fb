"""gradatim package: a released model in the layout of the server that shall run it."""

from __future__ import annotations

from pathlib import Path

import click

from gradatim.commands import options
from gradatim.releasing.servers import SERVERS


@click.command("package", short_help="Lay a released model out for a model server.")
@click.argument("what", metavar="[VERSION|STAGE]", default="latest")
@click.option("--for", "server", metavar="SERVER", required=True, type=click.Choice(list(SERVERS)), help=f"Who runs it: {', '.join(SERVERS)}.")  # fmt: skip
@click.option("--to", "into", metavar="FOLDER", type=click.Path(path_type=Path), help="Where to. Default: packages/NAME-VERSION-SERVER.")  # fmt: skip
@click.option("--base", metavar="IMAGE@sha256:...", help="Image that docker builds on, by its digest.")
@click.option("--storage", metavar="URI", help="Where KServe finds the model's files: s3://..., pvc://...")
@click.option("--force", is_flag=True, help="Replace what is in the folder.")
@options.contract
@options.as_json
def command(
    what: str,
    server: str,
    into: Path | None,
    base: str | None,
    storage: str | None,
    force: bool,
    contract_path: str | None,
    json_wanted: bool,
) -> int:
    """Lay the very bytes of a release, verified, into a server's own layout, with the configuration that it wants.

    \b
    Examples:
      gradatim package --for docker
      gradatim package v1.1.0 --for triton --to models/
      gradatim package production --for kserve --storage s3://models/digits/v1.1.0
    """
    import re

    from gradatim.commands.registry_view import open_registry
    from gradatim.errors import BrokenEvidence, UsageError
    from gradatim.releasing.packaging import BASE, lay_down
    from gradatim.releasing.verification import verify_version

    if base is not None and not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", base):
        raise UsageError(
            f"--base {base} names no digest: a tag may mean another image tomorrow. Say NAME@sha256:..."
        )
    view = open_registry(contract_path, fetch=False, offline=True)
    release = view.registry.find(what, view.model)
    verified = verify_version(view.repository, view.registry, release)
    if not verified.holds:
        raise BrokenEvidence(
            f"{release.tag} is not packaged, since it does not verify. {verified.findings[0]}"
        )
    root = view.contract.root if view.contract else Path.cwd()
    target = into or root / "packages" / f"{release.model or 'model'}-{release}-{server}"
    if into is None:
        _hide(target.parent)
    package = lay_down(
        view.repository, release, SERVERS[server], target, base=base or BASE, storage=storage, replace=force
    )
    if json_wanted:
        options.print_json(
            {"folder": str(package.folder), "server": server, "version": str(release), "manifest": release.manifest,
             "files": list(package.files)}
        )  # fmt: skip
        return 0
    click.echo(f"{release.tag} for {server}: {package.folder}")
    for name in package.files:
        click.echo(f"  {name}")
    if package.then:
        click.echo(package.then)
    click.echo(f"Next, in that folder:  {package.begin}")
    return 0


def _hide(folder: Path) -> None:
    """Let git pass over the folder of packages: the next release wants a clean tree."""
    from gradatim.files import write_text

    if not (folder / ".gitignore").exists():
        write_text(folder / ".gitignore", "*\n")
