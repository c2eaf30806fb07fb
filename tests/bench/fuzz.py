"""Whatever a file says, its reader refuses it in one paragraph or reads it: no traceback, no hang, no other file, little memory.

``python tests/bench/fuzz.py [SECONDS] [SEED]``: ten minutes by default, shared among the readers. A file that breaks a promise
is printed, and kept where it can be read again; exit code 1 then. Good files are bent: bytes changed, cut, moved, doubled, and
values of JSON replaced by what nobody expects there.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from registry_examples import IDENTITY, evidence_for, git, new_repository

from gradatim.ci.archive import Places, pack, unpack
from gradatim.contract.policy import read_policy
from gradatim.contract.reading import contract_of
from gradatim.data.npz import NpzSource
from gradatim.errors import GradatimError
from gradatim.evidence.found import Found
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.opinion import judged_by, replayed
from gradatim.evidence.release_record import ReleaseRecord
from gradatim.evidence.signature_bundle import read_content
from gradatim.evidence.statement import Bundle
from gradatim.files import sha256_file
from gradatim.models.inspection import inspect_model
from gradatim.models.pickles import doubt
from gradatim.registry.git import Repository
from gradatim.registry.reading import read

SECONDS = 600
MOST_SECONDS = 20
MOST_BYTES = 500_000_000
GOLDEN = Path(__file__).parents[1] / "unit" / "golden" / "evidence"
CONTRACT = b"""\
model: {name: digits, path: model.onnx}
data: {evaluation: test.npz, label: label, slices: [site]}
task: {type: classification, labels: [0, 1, 2]}
gates:
  accuracy: {at_least: 90%}
  recall: {not_worse_than: baseline, by: 1%, slices: every class, veto: true}
  latency_p50: {not_slower_than: baseline, by: 3%}
stages:
  beta: {branch: staging, tag: beta}
  production: {branch: main}
publish: [{folder: releases/}]
"""
STRANGE = (
    None,
    True,
    -1,
    0,
    1e308,
    10**400,
    "",
    "\ud800",
    "a\x00b",
    "../../x",
    "\n",
    [],
    {},
    [[]],
    {"a": {}},
    "9" * 5000,
)
BYTES = (
    b"\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\x04",
    b"c__builtin__\nexec\n",
    b"{",
    b"[" * 2000,
    b"\xed\xa0\x80",
    b"PK\x03\x04",
)

Reader = Callable[[bytes], object]


def bent(draw: Any, good: bytes) -> bytes:
    """A good file after a few changes."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        end = min(len(data), at + draw(st.integers(0, 64)))
        change = draw(st.sampled_from(("bit", "cut", "end", "double", "put", "swap")))
        if change == "bit" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[at:end]
        elif change == "end":
            del data[at:]
        elif change == "double":
            data[at:at] = data[at:end] * draw(st.integers(1, 50))
        elif change == "put":
            data[at:at] = (
                draw(st.sampled_from(BYTES)) if draw(st.booleans()) else draw(st.binary(max_size=16))
            )
        else:
            data[at:end] = bytes(reversed(data[at:end]))
    return bytes(data)


def bent_json(draw: Any, good: bytes) -> bytes:
    """Good JSON with strange values in some places."""
    lines = good.splitlines()
    if not lines or draw(st.integers(0, 3)) == 0:
        return bent(draw, good)
    at = draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[at])
    for _ in range(draw(st.integers(1, 3))):
        inner: Any = record
        while isinstance(inner, dict | list) and inner:
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            key = draw(st.sampled_from(keys))
            if not isinstance(inner[key], dict | list) or not inner[key] or draw(st.integers(0, 5)) == 0:
                inner[key] = (
                    copy.deepcopy(draw(st.sampled_from(STRANGE)))
                    if draw(st.booleans())
                    else draw(st.integers(-3, 10**12))
                )
                break
            inner = inner[key]
    lines[at] = json.dumps(record).encode()
    return b"\n".join(lines) + (b"\n" if good.endswith(b"\n") else b"")


def texts() -> Iterator[tuple[str, list[bytes], Reader, bool]]:
    """Readers of text, each with good files and whether these are JSON."""
    manifest = Manifest("digits", (FileEntry("a/b.onnx", 3, "a" * 64), FileEntry("c.json", 0, "b" * 64)))
    record = ReleaseRecord(
        "digits", "v1.0.0", "beta", "fp32", "c" * 40, manifest.digest, None, manifest.files
    )
    statements = [
        json.dumps(json.loads(path.read_bytes())).encode() for path in sorted(GOLDEN.glob("*.json"))
    ]
    plain = [
        text.replace(b"<sha256>", b"a" * 64).replace(b"<commit>", b"b" * 40) + b"\n" for text in statements
    ]
    yield (
        "contract",
        [CONTRACT],
        lambda data: contract_of(data.decode(errors="replace"), Path("gradatim.yml")),
        False,
    )
    yield "manifest", [manifest.to_bytes()], lambda data: same(Manifest.from_bytes(data, "m"), data), True
    yield "record", [record.to_bytes()], lambda data: same(ReleaseRecord.from_bytes(data), data), True
    yield "evidence", [evidence_for("a" * 64).to_bytes(), *plain], every_found, True
    yield "signature", [signature() for _ in range(1)], read_content, True


def same(read: Any, data: bytes) -> None:
    """What is read is what is there: nothing in it is passed over."""
    if read.to_bytes() != data:
        raise AssertionError("it was read, and says something else when it is written again")


def every_found(data: bytes) -> None:
    bundle = Bundle.from_bytes(data)
    for statement in bundle.statements:
        for kind in Found.__subclasses__():
            with contextlib.suppress(GradatimError):
                kind.if_any(statement)
    for variant in {gate.variant for statement in bundle.statements for gate in statement.gates}:
        replayed(bundle, variant)
        judged_by((), bundle, variant, "theirs.yml")


def signature() -> bytes:
    """What a bundle looks like; whether it holds is asked after it was read."""
    import base64

    statement = {
        "_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "digits@v1", "digest": {"sha256": "a" * 64}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": {"method": "files"}, "resources": [{"algorithm": "sha256", "name": "a", "digest": "b" * 64}]},
    }  # fmt: skip
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"publicKey": {"hint": "c" * 64}},
        "dsseEnvelope": {"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": []},
    }).encode()  # fmt: skip


def places(folder: Path) -> Iterator[tuple[str, list[bytes], Reader, bool]]:
    """Readers of files, of archives and of tags."""
    from safetensors.numpy import save

    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    one, several = io.BytesIO(), io.BytesIO()
    np.save(one, array)
    np.savez(several, x=array, label=np.arange(4), names=np.array(["a", "b", "c", "d"]))
    yield "npy", [one.getvalue()], lambda data: doubt(written(folder / "a.npy", data)), False
    yield "npz", [several.getvalue()], lambda data: opened(written(folder / "a.npz", data)), False
    tensors = [save({"w": array, "b": array[0].copy()})]
    yield "safetensors", tensors, lambda data: looked_at(folder / "a.safetensors", data), False
    yield "pt2", [program(folder)], lambda data: looked_at(folder / "a.pt2", data), False
    policy = b"gates:\n  accuracy: {at_least: 90%}\n  f1[class=3]: {not_worse_than: baseline, by: 1%}\n"
    yield "policy", [policy], lambda data: read_policy(written(folder / "theirs.yml", data), None), False
    yield from archives(folder)
    repository = new_repository(folder / "repo")
    message = (
        b"digits v1.0.0 for production\n\nmodel: digits\nversion: v1.0.0\nstage: production\nmanifest: sha256:"
        + b"a" * 64
    )
    yield "tag message", [message], lambda data: tagged(repository, data), False


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def opened(path: Path) -> None:
    doubt(path)
    NpzSource(path)


def looked_at(path: Path, data: bytes) -> None:
    inspect_model(written(path, data), root=path.parent)


def program(folder: Path) -> bytes:
    """A small exported program."""
    import torch

    path = folder / "good.pt2"
    example = (torch.zeros(2, 3),)
    torch.export.save(torch.export.export(torch.nn.Linear(3, 2), example), path)
    return path.read_bytes()


def archives(folder: Path) -> Iterator[tuple[str, list[bytes], Reader, bool]]:
    before = folder / "before"
    (before / ".gradatim" / "evidence").mkdir(parents=True)
    (before / ".gradatim" / "evidence" / "build.json").write_text("{}")
    (before / "model").mkdir()
    (before / "model" / "digits.onnx").write_bytes(b"a model")
    model = PurePosixPath("model/digits.onnx")
    pack(Places(before / ".gradatim", before, model), [before / model], folder / "good.tar")

    def read_archive(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            after, down = Path(name) / "after", Path(name) / "down"
            (after / ".gradatim").mkdir(parents=True)
            down.mkdir()
            written(down / "build.tar", data)
            try:
                unpack(
                    Places(after / ".gradatim", after, model),
                    down,
                    {"build": sha256_file(down / "build.tar")},
                )
            finally:
                outside = [path for path in Path(name).iterdir() if path not in (after, down)]
                strays = [path for path in after.iterdir() if path.name not in (".gradatim", "model")]
                if outside or strays or any(path.is_symlink() for path in after.rglob("*")):
                    raise AssertionError(f"it left {outside or strays or 'a link'}")

    yield "workspace archive", [(folder / "good.tar").read_bytes()], read_archive, False


def tagged(place: Path, message: bytes) -> None:
    """The registry as it reads a version's and a stage's tag with such a message."""
    head = git(place, "rev-parse", "HEAD")
    for name in ("v1.0.0", "digits#production#1"):
        body = f"object {head}\ntype commit\ntag {name}\ntagger A <a@b.c> 1 +0000\n\n".encode() + message
        write = ["git", "hash-object", "-t", "tag", "-w", "--stdin", "--literally"]
        done = subprocess.run(write, cwd=place, input=body, capture_output=True, check=True)
        git(place, "update-ref", f"refs/tags/{name}", done.stdout.decode().strip())
    registry = read(Repository.find(place))
    for what in ("v1.0.0", "production"):
        with contextlib.suppress(GradatimError):
            registry.find(what, "digits")


def hunt(
    name: str, goods: list[bytes], reader: Reader, *, as_json: bool, seconds: float, start: int
) -> list[str]:
    """Bend files until the time is over; what broke a promise, in words."""
    found: list[str] = []
    until, count = time.monotonic() + seconds, 0

    def attempt(data: bytes) -> None:
        signal.alarm(MOST_SECONDS)
        try:
            reader(data)
        except GradatimError as error:
            if not str(error).strip():
                raise AssertionError("it is refused without a word") from error
        finally:
            signal.alarm(0)

    while time.monotonic() < until:

        @seed(start + count)
        @settings(
            max_examples=50, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.data())
        def some(data: st.DataObject) -> None:
            good = data.draw(st.sampled_from(goods))
            broken = (bent_json if as_json else bent)(data.draw, good)
            try:
                attempt(broken)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                kept = Path(tempfile.gettempdir()) / f"gradatim-fuzz-{name.replace(' ', '-')}-{len(found)}"
                kept.write_bytes(broken)
                last = traceback.extract_tb(error.__traceback__)[-1]
                found.append(
                    f"{name}: {type(error).__name__}: {error} ({last.filename}:{last.lineno}), kept in {kept}"
                )

        some()
        count += 1
        if len(found) > 20:
            break
    print(f"{name}: {50 * count} files in {seconds:.0f} s, {len(found)} broke a promise", flush=True)
    return found


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    os.environ.update(IDENTITY)

    def ring(*_: object) -> None:
        raise TimeoutError(f"it took more than {MOST_SECONDS} s")

    signal.signal(signal.SIGALRM, ring)
    with tempfile.TemporaryDirectory(prefix="gradatim-fuzz-") as folder:
        readers = [*texts(), *places(Path(folder))]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = [
            line
            for name, goods, reader, as_json in readers
            for line in hunt(
                name, goods, reader, as_json=as_json, seconds=seconds / len(readers), start=start
            )
        ]
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if more > MOST_BYTES:
        found.append(f"the readers took {more / 1e6:.0f} MB")
    print("\n".join(dict.fromkeys(found)) or f"nothing broke a promise; {more / 1e6:.0f} MB at the most")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
