"""gradatim diff: what changed between two releases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gradatim.commands import options
from gradatim.evidence.codec import encode

if TYPE_CHECKING:
    from gradatim.commands.registry_view import RegistryView
    from gradatim.evidence.difference import Difference
    from gradatim.measurement import Measurement
    from gradatim.registry.history import Release

_FEW = 8
"""So many labels are named; the rest are counted."""

_TOLD = {
    "evaluation": "evaluation data",
    "calibration": "calibration data",
    "code": "code",
    "contract": "contract",
    "machine": "machine",
}
"""Inputs of steps that a person changes, as a person calls them."""


@click.command("diff", short_help="What changed between two releases.")
@click.argument("old", metavar="V1")
@click.argument("new", metavar="V2")
@options.contract
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also measurements that did not change, every slice, every input.",
)
@options.as_json
def command(old: str, new: str, contract_path: str | None, everything: bool, json_wanted: bool) -> int:
    """Compare two releases by their evidence: signature, metrics, size, latency, training, files, data, contract.

    \b
    Examples:
      gradatim diff v1.0.0 v1.1.0
      gradatim diff production beta
      gradatim diff v1.0.0 v1.1.0 --json
    """
    from gradatim.commands.registry_view import open_registry
    from gradatim.evidence.difference import difference

    view = open_registry(contract_path, fetch=False)
    releases = [view.registry.find(name, view.model) for name in (old, new)]
    if any(release.manifest is None for release in releases):
        return _committed(view, releases, json_wanted=json_wanted)
    before, after = (_kept(view, release) for release in releases)
    found = difference(before, after)
    if json_wanted:
        options.print_json(_record(found))
        return 0
    _show(found, everything=everything)
    return 0


def _committed(view: RegistryView, releases: Sequence[Release], *, json_wanted: bool) -> int:
    """What two commits say where a tag names no manifest, as gto's do not: their files, and no more."""
    old, new = (view.repository.tree(release.commit) for release in releases)
    changed = [path for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)]
    if json_wanted:
        files = [{"path": path, "before": old.get(path), "after": new.get(path)} for path in changed]
        options.print_json({"evidence": False, "files": files})
        return 0
    for path in changed:
        click.echo(f"file  {'+' if path not in old else '-' if path not in new else '~'} {path}")
    without = ", ".join(release.tag for release in releases if release.manifest is None)
    click.echo(
        f"{without}: not made by gradatim, so there is no evidence to compare; the files of the commits are."
    )
    return 0


def _kept(view: RegistryView, release: Release) -> tuple[Any, Any]:
    """Manifest and evidence of a release, as git keeps them."""
    from gradatim.evidence.manifest import Manifest
    from gradatim.evidence.release_record import EVIDENCE_FILE, MANIFEST_FILE
    from gradatim.evidence.statement import Bundle
    from gradatim.registry.ledger import open_ledger

    ledger = open_ledger(view.repository, release.manifest or "")
    manifest = Manifest.from_bytes(ledger.read(MANIFEST_FILE))
    return manifest, Bundle.from_bytes(ledger.read(f"{release}/{EVIDENCE_FILE}"))


def _show(found: Difference, *, everything: bool) -> None:
    from gradatim.report import numbers

    old, new = found.size
    click.echo(f"size         {numbers.size(old)} -> {numbers.size(new)}")
    if found.signatures:
        same = found.signatures[0] == found.signatures[1]
        click.echo("signature    unchanged" if same else "signature    changed:")
        for side, signature in zip("-+", found.signatures, strict=True):
            if not same:
                click.echo(
                    f"  {side} {', '.join(map(str, signature.inputs))} -> {', '.join(map(str, signature.outputs))}"
                )
    if found.labels and (change := _changed_labels(*found.labels)):
        click.echo(f"labels       {len(found.labels[0])} -> {len(found.labels[1])}: {change}")
    for label, before, after in found.measurements:
        changed = _value(before) != _value(after)
        if everything or (changed and "[" not in label):
            click.echo(f"{label:<26} {_told(before):>12} -> {_told(after):>12}")
    for what, was, now in found.training:
        click.echo(options.row(f"training  {what}  ", f"{_short(was)} -> {_short(now)}"))
    for path, before_file, after_file in found.files:
        mark = "+" if before_file is None else "-" if after_file is None else "~"
        click.echo(f"file  {mark} {path}")
    for name in _rested_on(found, everything=everything):
        click.echo(f"input ~ {name}")


def _changed_labels(old: Sequence[str], new: Sequence[str]) -> str:
    """What became of the labels; empty where they are the same."""
    listed = (
        ("added", [label for label in new if label not in set(old)]),
        ("gone", [label for label in old if label not in set(new)]),
    )
    parts = [f"{_few(labels)} {word}" for word, labels in listed if labels]
    kept, still = [label for label in old if label in set(new)], [label for label in new if label in set(old)]
    return "; ".join([*parts, *(["in another order"] if kept != still else [])])


def _few(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _FEW} more" if len(labels) > _FEW else ""
    return ", ".join(f"`{label}`" for label in labels[:_FEW]) + more


def _rested_on(found: Difference, *, everything: bool) -> list[str]:
    """What the evidence rests on and differs, in words; what only follows from other evidence is left out."""
    if everything:
        return [name for name, _, _ in found.inputs]
    steps: dict[str, list[str]] = {}
    for name, _, _ in found.inputs:
        step, _, what = name.partition(": ")
        if what in _TOLD:
            steps.setdefault(_TOLD[what], []).append(step)
    return [f"{what}, as {', '.join(steps[what])} saw it" for what in _TOLD.values() if what in steps]


def _value(measurement: Measurement | None) -> float | None:
    return measurement.value if measurement else None


def _told(measurement: Measurement | None) -> str:
    from gradatim.report import numbers

    if measurement is None or measurement.value is None:
        return "none"
    if measurement.unit == "s":
        return numbers.seconds(measurement.value)
    if measurement.unit == "B":
        return numbers.size(measurement.value)
    return numbers.quality(measurement.name, measurement.value)


def _short(text: str | None) -> str:
    """A recorded value for one line; of a digest or a long text its beginning."""
    from gradatim.report import numbers
    from gradatim.report.text import one_line

    return "none" if text is None else one_line(numbers.digest(text), 60)


def _record(found: Difference) -> dict[str, Any]:
    return {
        "size": list(found.size),
        "files": [{"path": path, "before": before, "after": after} for path, before, after in found.files],
        "measurements": [
            {"name": label, "before": _value(before), "after": _value(after)}
            for label, before, after in found.measurements
        ],
        "inputs": [{"name": name, "before": before, "after": after} for name, before, after in found.inputs],
        "training": [{"name": name, "before": was, "after": now} for name, was, now in found.training],
        "labels": [list(labels) for labels in found.labels] if found.labels else None,
        "signatures": [encode(signature) for signature in found.signatures] if found.signatures else None,
    }
