"""Laying a verified release into the layout of the server that shall run it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from gradatim.errors import BrokenEvidence, InvalidInput, UsageError
from gradatim.evidence.found import Compressed, Evaluated, Inspected
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import EVIDENCE_FILE, MANIFEST_FILE, RECORD_FILE, ReleaseRecord
from gradatim.evidence.statement import Bundle
from gradatim.files import cannot_write, parse_json, template_folder
from gradatim.publishers.places import publications_of
from gradatim.publishers.retrieval import retrieve
from gradatim.registry.ledger import open_ledger
from gradatim.releasing.servers import SERVERS, ModelServer

if TYPE_CHECKING:
    from gradatim.registry.git import Repository
    from gradatim.registry.history import Release
    from gradatim.registry.ledger import Ledger

BASE = "python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b"
"""What an image is built on unless the caller names another, by digest."""

_STORED = {"s3": "{location}", "huggingface": "hf://{location}", "oci": "oci://{location}:{version}"}
"""How KServe calls the places that a release may be published to."""

_WRITTEN = {".onnx": "onnx", ".tflite": "litert"}
"""What compression writes, by its suffix."""

_TRITON = {
    "bool": "TYPE_BOOL", "str": "TYPE_STRING", "float16": "TYPE_FP16", "bfloat16": "TYPE_BF16", "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    **{f"{kind}{bits}": f"TYPE_{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""numpy's name of a type -> the one in a config.pbtxt. Source: Triton's ``model_config.proto``."""


@dataclass(frozen=True)
class Package:
    """What was laid down.

    Attributes:
        folder: where.
        files: all of it, relative to the folder.
        begin: what to type next.
        then: what is to be known of the server; may be empty.
    """

    folder: Path
    files: tuple[str, ...]
    begin: str
    then: str


def lay_down(
    repository: Repository,
    release: Release,
    server: ModelServer,
    into: Path,
    *,
    base: str = BASE,
    storage: str | None = None,
    replace: bool = False,
) -> Package:
    """Write a release into a folder, laid out as a server wants it; the folder is whole or not there.

    Args:
        repository: where the release was tagged.
        release: one that was verified; its model's bytes are checked once more against its manifest.
        server: who shall run it.
        into: a folder that is not there yet.
        base: image to build on, by digest.
        storage: address of the model's files as the cluster reaches them; None takes the first public place.
        replace: the folder may be there, and is replaced.

    Raises:
        UsageError: the folder is there, or the server does not serve such models.
        BrokenEvidence: the release has no evidence.
        InvalidInput: the folder cannot be written.
    """
    if into.exists() and not replace:
        raise UsageError(
            f"{into} is there already. Name another folder with --to, or replace it with --force."
        )
    if release.manifest is None:
        raise BrokenEvidence(f"The tag {release.tag} names no manifest: nothing proves which bytes it means.")
    ledger = open_ledger(repository, release.manifest)
    record = ReleaseRecord.from_bytes(ledger.read(f"{release}/{RECORD_FILE}"))
    told = _told(ledger, record, release)
    kind = server.formats.get(told["format"])
    if kind is None or told["asked"] is not server.asked:
        raise UsageError(_not_served(server, told["format"], told["asked"], f"{record.name} {release}"))
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as temporary:
            whole = Path(temporary) / "package"
            folder = whole / server.model.format(name=record.name)
            files = retrieve(
                repository, release.commit, folder, manifest=release.manifest, version=str(release)
            ).files
            main = _named(folder, files, (server.renamed or {}).get(told["format"]))
            told |= {
                "kind": kind,
                "file": main,
                "adapter": _adapter(folder, files),
                "base": base,
                "storage": storage or _stored(ledger, release) or f"pvc://models/{record.name}/{release}",
            }
            for path, template in server.files.items():
                target = whole / path.format(name=record.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(_rendered(template, told), encoding="utf-8")
            if into.exists():
                shutil.rmtree(into)
            whole.rename(into)
    except OSError as error:
        raise cannot_write(into, error) from error
    found = sorted(path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file())
    begin = server.begin.format(name=record.name, version=str(release), file=main)
    return Package(into, tuple(found), begin, server.then)


def format_of(repository: Repository, release: Release) -> str:
    """The format of a released model, as its evidence says.

    Raises:
        BrokenEvidence: there is none.
    """
    ledger = open_ledger(repository, str(release.manifest))
    record = ReleaseRecord.from_bytes(ledger.read(f"{release}/{RECORD_FILE}"))
    return str(_told(ledger, record, release)["format"])


def _told(ledger: Ledger, record: ReleaseRecord, release: Release) -> dict[str, Any]:
    """What templates may say of a release."""
    evidence = Bundle.from_bytes(ledger.read(f"{release}/{EVIDENCE_FILE}"))
    inspected = next((Inspected.of(statement) for statement in evidence.of("inspect")), None)
    if inspected is None or inspected.signature is None:
        raise BrokenEvidence(f"The evidence of {release} does not say what its model takes and gives.")
    evaluated = next((Evaluated.of(statement) for statement in evidence.of("evaluate")), None)
    form = evaluated.variants.get(record.variant) if evaluated else None
    signature, manifest = inspected.signature, Manifest.from_bytes(ledger.read(MANIFEST_FILE))
    compressed = next((Compressed.of(statement) for statement in evidence.of("compress")), Compressed(()))
    made = any(left.name == record.variant and left.file for left in compressed.variants)
    files = [file.path for file in manifest.files] if made else []
    known = all(spec.shape is not None for spec in (*signature.inputs, *signature.outputs))
    if not known or not signature.outputs:
        signature = form.signature if form else signature
    return {
        "name": record.name,
        "version": str(release),
        "commit": record.commit,
        "manifest": record.manifest,
        "asked": inspected.asked,
        "format": released_format(inspected.inspection.format, files),
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "labels": list(form.labels) if form and form.labels else None,
    }


def released_format(built: str, made: Sequence[str]) -> str:
    """The format of what was released: compression may have written the model in another.

    Args:
        built: the format of the model as it was built.
        made: the files that compression made; none where the model was released as it was built.
    """
    if "stages.json" in made:
        return "stages"
    suffixes = {PurePosixPath(name).suffix for name in made}
    return next((_WRITTEN[suffix] for suffix in _WRITTEN if suffix in suffixes), built)


def _not_served(server: ModelServer, format_: str, asked: bool, what: str) -> str:
    others = [row.name for row in SERVERS.values() if format_ in row.formats and row.asked is asked]
    serves = f"{server.name} serves {', '.join(server.formats)}{' that is asked for text' * server.asked}"
    instead = f" These do: {', '.join(others)}." if others else " Export it to ONNX, which most servers run."
    if asked and not others:
        instead = " llama.cpp's server runs GGUF files, and vLLM the folders of Hugging Face."
    return f"{serves}, and {what} is {format_}{' that is asked for text' * asked}.{instead}"


def _named(folder: Path, files: tuple[str, ...], wanted: str | None) -> str:
    """The model's first file, called as the server wants it."""
    main = next((name for name in files if PurePosixPath(name).suffix == ".onnx"), files[0])
    if wanted is None or main == wanted:
        return main
    (folder / main).rename(folder / wanted)
    return wanted


def _adapter(folder: Path, files: tuple[str, ...]) -> dict[str, Any] | None:
    """Where a language model's base and its adapter lie, and the adapter's largest rank; None for a model without one."""
    lies = {PurePosixPath(name).name: PurePosixPath(name).parent.as_posix() for name in files}
    if "adapter_config.json" not in lies:
        return None
    said = parse_json(
        (folder / lies["adapter_config.json"] / "adapter_config.json").read_bytes(), "adapter_config.json"
    )
    ranks = [said.get("r") or 0, *(said.get("rank_pattern") or {}).values()]
    return {"base": lies["config.json"], "folder": lies["adapter_config.json"], "rank": max(ranks)}


def _stored(ledger: Ledger, release: Release) -> str | None:
    """The first place that a cluster can read the release from."""
    for publication in publications_of(ledger, str(release)):
        if pattern := _STORED.get(publication.publisher):
            return pattern.format(location=publication.location, version=release)
    return None


def _rendered(template: str, told: dict[str, Any]) -> str:
    import jinja2

    folder = template_folder("package")
    if template == "requirements":
        return (folder / "requirements" / f"{told['format']}.txt").read_text(encoding="utf-8")
    environment = jinja2.Environment(  # noqa: S701 (no HTML)
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quoted": json.dumps, "triton": _triton}
    return environment.get_template(f"{template}.j2").render(told)


def _triton(dtype: str) -> str:
    if dtype not in _TRITON:
        raise InvalidInput(f"Triton has no type for {dtype}.")
    return _TRITON[dtype]
