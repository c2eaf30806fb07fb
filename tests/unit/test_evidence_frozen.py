"""What evidence is refused for and what is told of two releases, to the letter: no finding and no word of it changes unseen.

``python tests/unit/test_evidence_frozen.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import base64
import copy
import enum
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from frozen import attempted, changed, line, told, write
from test_verdicts_retold import classes

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence import signatures as signatures_module
from gradatim.evidence.assembly import assemble
from gradatim.evidence.attestations import attestations
from gradatim.evidence.authenticity import Trust
from gradatim.evidence.codec import decode, encode, keys
from gradatim.evidence.difference import _recorded, difference
from gradatim.evidence.finding import Finding, Verification
from gradatim.evidence.found import Inspected, Judged
from gradatim.evidence.manifest import FileEntry, Manifest, refuse_collisions, safe_path
from gradatim.evidence.opinion import _by_interval, asked_of, judged_by, replayed, with_opinion
from gradatim.evidence.release_record import ReleaseRecord
from gradatim.evidence.signature_bundle import BUNDLE, PAYLOAD, read_content
from gradatim.evidence.signatures import Signatures, _covers
from gradatim.evidence.statement import Bundle, Statement
from gradatim.evidence.trend import trends
from gradatim.evidence.trial import Trial
from gradatim.evidence.verify import check_evidence, check_files, check_kept, verify_folder
from gradatim.files import canonical_json, sha256_bytes
from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.judge import judge
from gradatim.gates.recording import grounds_of
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.lineage.record import DataUsed, Lineage, LoggedMetric
from gradatim.measurement import Measurement
from gradatim.metrics.answers import REQUEST
from gradatim.signature import Inspection, Signature, TensorSpec

GOLDEN = Path(__file__).parent / "golden" / "evidence_frozen"
A, B, C = "a" * 64, "b" * 64, "c" * 64


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Part:
    """A record within a record."""

    n: int
    half: float = 0.5


@dataclass(frozen=True)
class Whole:
    """A record of every kind of value."""

    name: str
    parts: tuple[Part, ...] = ()
    pair: tuple[int, str] | None = None
    by: Mapping[str, Part] = field(default_factory=dict)
    colour: Colour = Colour.RED
    sure: bool = False
    mode: Literal["a", 1] = "a"
    any_: Any = None
    either: int | str | None = None
    more: Mapping[str, tuple[float, ...]] | None = None


def codec() -> Iterator[str]:
    """Records to JSON and back, and what is refused at which place."""
    for one in (
        Whole("x"),
        Whole(
            "x",
            (Part(1), Part(2, 1.0)),
            (3, "y"),
            {"k": Part(4)},
            sure=True,
            any_=[1, {"z": None}],
            either="s",
            more={"q": (1, 2.5)},
        ),
    ):
        written = encode(one)
        yield json.dumps(written)
        yield told(decode(Whole, json.loads(json.dumps(written)), "it") == one)
    yield told(sorted(keys(Whole)))
    for wrong in (
        [], {}, {"name": 1}, {"name": "x", "parts": {}}, {"name": "x", "parts": [{"n": 1.5}]}, {"name": "x", "parts": [{"n": True}]}, {"name": "x", "parts": [{"n": 1, "half": 10**400}]}, {"name": "x", "parts": [{"n": 1, "half": 1}]}, {"name": "x", "pair": [1]},
        {"name": "x", "pair": [1, 2]}, {"name": "x", "pair": None}, {"name": "x", "by": []}, {"name": "x", "by": {"k": {}}}, {"name": "x", "colour": "blue"}, {"name": "x", "sure": 1}, {"name": "x", "mode": 1}, {"name": "x", "mode": "b"}, {"name": "x", "either": 1.5}, {"name": "x", "either": True},
        {"name": "x", "more": {"q": ["s"]}}, {"name": "x", "zz": 1, "aa": 2}, {"parts": []}, {"name": "x", "any": float("inf")},
        {"name": "x", "parts": [{"n": 1, "half": sys.float_info.max}]}, {"name": "x", "parts": [{"n": 1, "half": -sys.float_info.max}]},
    ):  # fmt: skip
        yield attempted(lambda wrong=wrong: decode(Whole, wrong, "it"))  # type: ignore[misc]
    yield attempted(lambda: decode(Whole, {"name": "x", "zz": 1}, "it", newer=True))
    yield attempted(lambda: decode(Measurement, {"name": "a", "variant": "v"}, "it"))


def statement(
    step: str, subjects: Mapping[str, str], *, verdict: Verdict = Verdict.PASS, **more: Any
) -> Statement:
    return Statement(step, subjects, verdict, "1.0", **more)


def gate(name: str, verdict: Verdict, variant: str = "int8", **more: Any) -> GateResult:
    return GateResult(name, name, verdict, variant, "at least 90 %", "It is so.", **more)


def statements() -> Iterator[str]:
    """Statements, bundles, manifests and records: read strictly."""
    whole = statement(
        "gate",
        {"int8": A, "fp32": B},
        inputs={"candidate": C},
        gates=(gate("accuracy", Verdict.PASS),),
        details={"summary": "s", "outputs": {"x": C}, "seconds": 1.5, "made": "now"},
    )
    yield told((whole.summary, whole.outputs, whole.seconds, whole.made, whole.variant(B), whole.variant(C)))
    data = whole.to_bytes()
    for old, new in (
        ("", ""),
        ("Statement/v1", "Statement/v2"),
        ('"gates"', '"gaps"'),
        (A, "A" * 64),
        (C, "c" * 63),
        ('"subject":[', '"subject":[{"name":"int8","digest":{"sha256":"x"}},'),
        ("PASS", "MAYBE"),
        ('"int8"', "7"),
        ('"predicate":', '"more":1,"predicate":'),
        ('"step":"gate"', '"step":7'),
        ('"seconds":1.5', '"seconds":"x"'),
    ):
        assert old in data.decode()
        yield attempted(
            lambda old=old, new=new: (
                Statement.from_bytes(data.decode().replace(old, new).encode(), "it").seconds
            )
        )  # type: ignore[misc]
    record = json.loads(data)
    for change in (
        {"subject": []},
        {"subject": 7},
        {"predicate": []},
        {"subject": [{"name": "a"}]},
        {"subject": [{"name": "a", "digest": {"md5": "x"}}]},
        {"_type": None},
    ):
        yield attempted(
            lambda change=change: Statement.from_bytes(canonical_json({**record, **change}), "it").step
        )  # type: ignore[misc]
    yield attempted(lambda: Statement.from_bytes(b"[]", "it"))
    both = Bundle(
        (
            whole,
            statement("build", {"built": C}),
            statement("evaluate", {"other": "d" * 64}),
            statement("compress", {"int8": A}, inputs={"candidate": B}),
        )
    )
    yield told(
        (
            both.gates("int8"),
            both.gates("fp32"),
            [one.step for one in both.of("build")],
            sorted(both.linked(A)[0]),
            [one.step for one in both.linked(A)[1]],
            [one.step for one in both.linked("e" * 64)[1]],
        )
    )
    for text in (both.to_bytes()[:-1], both.to_bytes() + b"\n", b"", b"x\n"):
        yield attempted(lambda text=text: len(Bundle.from_bytes(text, "file").statements))  # type: ignore[misc]
    for path in (
        "a",
        "a/b",
        "",
        ".",
        "/a",
        "a//b",
        "a/",
        "../a",
        "a/../b",
        "a\\b",
        "c:x",
        "C:x",
        "a\x07",
        "a\u202eb",
        "\ud800",
        "e\u0301",
    ):
        yield attempted(lambda path=path: safe_path(path)).encode("ascii", "backslashreplace").decode()  # type: ignore[misc]
    for paths in (["a", "A"], ["a", "a/b"], ["a", "b/a"], ["ss", "\u00df"], ["A/x", "a"]):
        yield attempted(lambda paths=paths: refuse_collisions(paths))  # type: ignore[misc]
    manifest = Manifest("m", (FileEntry("b", 2, B), FileEntry("a", 1, A)))
    for size in (-1, 0, 1):
        yield attempted(lambda size=size: FileEntry("a", size, A).refuse_unsafe("m"))  # type: ignore[misc]
    yield told((manifest.size, manifest.to_bytes().decode()))
    for old, new in (
        ('"size":1', '"size":-1'),
        (A, "a" * 63),
        ('"path":"a"', '"path":"../a"'),
        ('"path":"a"', '"path":"b"'),
        ('"path":"a"', '"path":"e\u0301"'),
        ("{", "{ "),
        ('"name":"m"', '"name":""'),
    ):
        yield attempted(
            lambda old=old, new=new: (
                Manifest.from_bytes(manifest.to_bytes().decode().replace(old, new, 1).encode()).name
            )
        )  # type: ignore[misc]
    yield attempted(lambda: Manifest("m", ()))
    known = ReleaseRecord(
        "m",
        "v1.1.0",
        "beta",
        "int8",
        "0" * 40,
        A,
        "v1.0.0",
        (FileEntry("z", 1, B), FileEntry("evidence.intoto.jsonl", 2, C)),
        {"a": "model/a"},
    )
    yield told(
        (
            known.tag_message(),
            known.tag_message(C),
            replace(known, stage=None, previous=None).tag_message(),
            known.evidence,
            replace(known, files=()).evidence,
        )
    )
    for old, new in (
        ("", ""),
        ("urn:gradatim:release:v1", "x"),
        ("sha256:aaaa", "sha256:AAAA"),
        ("0" * 40, "0" * 39),
        ('"version":"v1.1.0"', '"version":""'),
        ('"model/a"', '"../a"'),
        ('"stage":"beta"', '"stage":null'),
        ('"stage":"beta"', '"stage":7'),
    ):
        yield attempted(
            lambda old=old, new=new: (
                ReleaseRecord.from_bytes(known.to_bytes().decode().replace(old, new).encode()).stage
            )
        )  # type: ignore[misc]
    yield attempted(lambda: replace(known, files=(FileEntry("Release.json", 1, A),)))


def kept_beside(record: ReleaseRecord, evidence: bytes) -> bytes:
    """A release's record that vouches for other evidence."""
    own = FileEntry("evidence.intoto.jsonl", len(evidence), sha256_bytes(evidence))
    return replace(record, files=(own,)).to_bytes()


def verifications() -> Iterator[str]:
    """Findings about a folder, about evidence and about what git keeps; and what they come to."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "model")
        root.mkdir()
        (root / "m.onnx").write_bytes(b"weights")
        (root / "m.data").write_bytes(b"more")
        manifest = Manifest.of("m", root, [root / "m.onnx", root / "m.data"])
        evidence = Bundle(
            (
                statement(
                    "gate",
                    {"int8": manifest.digest},
                    gates=(gate("accuracy", Verdict.PASS), gate("size", Verdict.FAIL, "fp32")),
                ),
            )
        )
        release = assemble(
            manifest,
            root,
            evidence,
            tag="v1.0.0",
            version="v1.0.0",
            stage="beta",
            variant="int8",
            commit="0" * 40,
            previous=None,
            others={"report.html": b"<p>"},
        )
        yield told(
            (
                [entry.path for entry in release.signable],
                [
                    entry.path
                    for entry in release.with_signature(b"sig", {"provenance.sigstore.json": b"p"}).entries
                ],
                sorted(release.with_signature(b"sig").kept),
                sorted(release.with_signature(b"sig").sources),
                sorted(release.with_signature(None, {"provenance.sigstore.json": b"p"}).sources),
                sorted(release.with_signature(b"sig").with_signature(None).kept),
            )
        )
        folder = Path(name, "m@v1.0.0")
        folder.mkdir()
        for path, source in release.sources.items():
            (folder / path).write_bytes(source if isinstance(source, bytes) else source.read_bytes())

        def looked(where: Path = folder, **more: Any) -> str:
            found = verify_folder(where, **more)
            return (
                told(
                    (
                        found.answer,
                        found.holds,
                        found.checked,
                        found.signature,
                        found.vouched,
                        found.gates,
                        found.findings,
                    )
                )
                .replace(name, "TMP")
                .replace(manifest.digest, "DIGEST")
                .replace(manifest.digest[:12], "DIGEST")
            )

        yield looked()
        yield looked(signatures=Signatures(demanded=True))
        (folder / "release.json").write_bytes(replace(release.record, name="another").to_bytes())
        yield looked()
        (folder / "release.json").write_bytes(release.record.to_bytes())
        refused = Bundle(
            (
                statement("gate", {"int8": manifest.digest}, gates=(gate("accuracy", Verdict.FAIL),)),
                statement("build", {"x": C}),
            )
        )
        bad_release = assemble(
            manifest,
            root,
            refused,
            tag="v1.0.0",
            version="v1.0.0",
            stage="beta",
            variant="int8",
            commit="0" * 40,
            previous=None,
        )
        bad_folder = Path(name, "bad")
        bad_folder.mkdir()
        for path, source in bad_release.sources.items():
            (bad_folder / path).write_bytes(source if isinstance(source, bytes) else source.read_bytes())
        yield looked(bad_folder)
        moved = folder.rename(Path(name, "v1.2.0"))
        yield looked(moved)
        folder = moved.rename(Path(name, "download"))
        (folder / "extra").write_text("x")
        (folder / "m.onnx").write_bytes(b"weightz")
        (folder / "m.data").write_bytes(b"m")
        (folder / "provenance.sigstore.json").write_bytes(b"p")
        yield looked(folder)
        (folder / "report.html").unlink()
        (folder / "evidence.intoto.jsonl").write_bytes(b"x\n")
        (folder / "manifest.json").write_bytes(Manifest("other", (FileEntry("a", 1, A),)).to_bytes())
        yield looked(folder)
        (folder / "evidence.intoto.jsonl").unlink()
        (folder / "release.json").write_bytes(b"{}")
        yield looked(folder)
        (folder / "release.json").unlink()
        yield looked(folder)
        yield attempted(lambda: verify_folder(folder / "none")).replace(name, "TMP")
        yield told(check_files(root, manifest.files, also=())[1])
        record = release.record
        for given in (
            (record.to_bytes(), manifest.to_bytes(), evidence.to_bytes(), manifest.digest, record.digest), (record.to_bytes(), manifest.to_bytes(), None, manifest.digest, None), (record.to_bytes(), manifest.to_bytes(), b"other", manifest.digest, record.digest),
            (b"{}", b"{}", evidence.to_bytes(), manifest.digest, record.digest), (other := kept_beside(record, b"x"), manifest.to_bytes(), b"x", manifest.digest, sha256_bytes(other)), (other := kept_beside(record, b"x\n"), manifest.to_bytes(), b"x\n", manifest.digest, sha256_bytes(other)), (replace(record, files=()).to_bytes(), manifest.to_bytes(), evidence.to_bytes(), A, record.digest),
        ):  # fmt: skip
            *_, findings = check_kept(given[0], given[1], given[2], digest=given[3], record_digest=given[4])
            yield told(findings)
    yield told(check_evidence(Bundle((statement("gate", {"int8": C}),)), A, "int8"))
    for gates, verdict in (
        (
            (
                gate("a", Verdict.FAIL),
                gate("b", Verdict.INCONCLUSIVE),
                gate("c", Verdict.INCONCLUSIVE, blocking=False),
                gate("d", Verdict.FAIL, "fp32"),
            ),
            Verdict.FAIL,
        ),
        ((), Verdict.FAIL),
        ((gate("a", Verdict.PASS),), Verdict.INVALID),
    ):
        yield told(
            check_evidence(
                Bundle(
                    (
                        statement("gate", {"int8": A}, gates=gates, verdict=verdict),
                        statement("build", {"x": C}, verdict=Verdict.FAIL),
                    )
                ),
                A,
                "int8",
            )
        )
    bad, soft = Finding("altered file", "x", "t"), Finding("unsigned", "x", "t")
    for found in (
        Verification("m", "v", A),
        Verification("m", "v", A, ("x",)),
        Verification("m", "v", A, ("x",), vouched="tag"),
        Verification("m", "v", A, ("x",), vouched="tag", gates=1),
        Verification("m", "v", A, ("x",), findings=(soft,)),
        Verification("m", "v", A, ("x",), findings=(soft, bad)),
    ):
        yield told(
            (
                found.answer,
                found.holds,
                with_opinion(found, [("told", []), ("", []), ("refuted", [bad])]).checked,
                with_opinion(found, [("told", [bad])]).findings,
            )
        )
    for version, stage in (
        ("v1.0.0-beta.2", None),
        ("v1.0.0", "beta"),
        ("v1.0.0+x-beta", None),
        ("v1.0.0", None),
    ):
        record = replace(record, version=version, stage=stage)
        yield told(
            [
                Signatures(demanding=frozenset(["beta"])).wanted(record),
                Signatures(suffixes=frozenset(["beta"])).wanted(record),
                Signatures(suffixes=frozenset([""])).wanted(record),
                Signatures(demanded=True).wanted(record),
                Signatures().wanted(record),
            ]
        )
    yield told(Signatures(demanded=True).judge(None, record, manifest, {}))
    yield told(Signatures().judge(None, record, manifest, {"provenance.sigstore.json": b"x"}))
    yield told(
        [Signatures().judge(b"x", record, manifest, {}), bool(Trust()), bool(Trust(identities=("a",)))]
    )


def signed() -> dict[str, Any]:
    said = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://model_signing/signature/v1.0", "subject": [{"name": "m@v1"}],
            "predicate": {"serialization": {"method": "files"}, "resources": [{"algorithm": "sha256", "name": "a", "digest": A}, {"algorithm": "sha256", "name": "b", "digest": B}]}}  # fmt: skip
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "f"}},
        "dsseEnvelope": {"payload": said, "payloadType": PAYLOAD, "signatures": []},
    }


def written_down(bundle: dict[str, Any]) -> bytes:
    made = copy.deepcopy(bundle)
    made["dsseEnvelope"]["payload"] = base64.b64encode(
        json.dumps(made["dsseEnvelope"]["payload"]).encode()
    ).decode()
    return json.dumps(made).encode()


def signatures() -> Iterator[str]:
    """Signatures read strictly, and what they cover."""
    content = read_content(written_down(signed()))
    yield line(content)
    for entries, subject in (
        ((("a", A), ("b", B)), "m@v1"),
        ((("a", A),), "m@v1"),
        ((("a", B), ("c", C), ("b", B)), "m@v1"),
        ((), "m@v2"),
    ):
        yield told(_covers(content, [FileEntry(path, 1, digest) for path, digest in entries], subject))
    for place, value in (
        ("mediaType", "x"), ("more", 1), ("verificationMaterial", {}), ("verificationMaterial", {"publicKey": {"hint": "f"}, "certificate": 1}), ("verificationMaterial", {"certificate": 1}), ("verificationMaterial", {"publicKey": {}}), ("dsseEnvelope.payloadType", "x"), ("dsseEnvelope.more", 1),
        ("dsseEnvelope.payload._type", "x"), ("dsseEnvelope.payload.predicateType", "x"), ("dsseEnvelope.payload.subject", []), ("dsseEnvelope.payload.subject", [{"name": 1}, {"name": 2}]), ("dsseEnvelope.payload.predicate.serialization", {"method": "shards"}), ("dsseEnvelope.payload.predicate.resources", [{"algorithm": "md5", "name": "a", "digest": A}]),
        ("dsseEnvelope.payload.predicate.resources", [{"algorithm": "sha256", "name": "a", "digest": A}] * 2), ("dsseEnvelope.payload.predicate", 7),
    ):  # fmt: skip
        bundle = signed()
        *way, last = place.split(".")
        node = bundle
        for key in way:
            node = node[key]
        node[last] = value
        yield f"{place}: {attempted(lambda bundle=bundle: read_content(written_down(bundle)).fingerprint)}"  # type: ignore[misc]
    loose = json.loads(written_down(signed()))
    loose["dsseEnvelope"]["payload"] = "!" + loose["dsseEnvelope"]["payload"]
    for data in (b"", b"[]", b"{}", json.dumps(loose).encode(), b"x" * ((16 << 20) + 1)):
        yield attempted(lambda data=data: read_content(data))  # type: ignore[misc]


def opinions() -> Iterator[str]:
    """Verdicts made again from evidence, and by the gates of others."""
    new, old = classes(np.random.default_rng(2))
    places = np.arange(60)[:, None]
    graded = CorruptionScores(
        "blur", (1, 2), np.abs(np.cos(places * [0.01, 0.011])), np.abs(np.cos(places * [0.012, 0.0111]))
    )
    case = Case(
        "int8",
        [Measurement("size", "int8", 10.0, "B")],
        candidate=new,
        baseline=old,
        baseline_name="v1.0.0",
        robustness={"blur": graded},
    )
    rules = [Rule("accuracy", "accuracy", "at_least", 0.8), Rule("log_loss", "log_loss", "keep", 1.4), Rule("size", "size", "at_most", 20.0), Rule("robustness", "robustness", "at_least", 0.7), Rule("robustness", "robustness", "at_most", 0.99)]  # fmt: skip
    results = judge(rules, case)
    kept = Judged(
        "int8", {}, "beta", "", grounds_of(rules, case, results, on_inconclusive="fail", outcomes=True)
    )

    def bundle(gates: Iterable[GateResult], verdict: Verdict = Verdict.PASS, judged: Judged = kept) -> Bundle:
        verdicts = statement(
            "gate",
            {"int8": A},
            gates=tuple(gates),
            verdict=verdict,
            details=json.loads(json.dumps(encode(judged))),
        )
        return Bundle(
            (
                verdicts,
                statement(
                    "inspect",
                    {"int8": A},
                    measurements=tuple(case.measurements),
                    gates=(gate("format", Verdict.PASS),),
                ),
            )
        )

    every = [*results, gate("format", Verdict.PASS)]
    worst = Verdict.worst(one.verdict for one in every)
    first = every[0]
    for gates, verdict in (
        (every, worst), (every[1:], worst), (every, Verdict.INVALID), ([replace(first, verdict=Verdict.FAIL), *every[1:]], worst), ([replace(first, value=0.1), *every[1:]], worst), ([replace(first, low=None), *every[1:]], worst), ([replace(first, blocking=False), *every[1:]], worst),
        ([*every, gate("more", Verdict.PASS)], worst), ([*every, replace(gate("branch", Verdict.PASS), rule="gates")], worst), ([*every, gate("theirs", Verdict.PASS, "fp32")], worst), ([replace(one, verdict=Verdict.PASS, low=0.5, high=0.995) for one in every], worst),
    ):  # fmt: skip
        said, findings = replayed(bundle(gates, verdict), "int8")
        yield told((said, [(one.problem, one.where, one.text) for one in findings]))
    yield told(replayed(bundle(every, worst, replace(kept, grounds=None)), "int8"))
    assert kept.grounds is not None
    broken = replace(
        kept.grounds,
        samples=tuple(
            replace(one, successes=9999) if one.successes is not None else one for one in kept.grounds.samples
        ),
    )
    yield told(replayed(bundle(every, worst, replace(kept, grounds=broken)), "int8"))
    yield told(
        judged_by(rules[:1], bundle(every, worst, replace(kept, grounds=broken)), "int8", "theirs.yml")
    )
    yield told(judged_by(rules, Bundle(()), "int8", "theirs.yml"))
    yield told(
        judged_by(
            [replace(rules[0], amount=0.99, line=3), rules[2], replace(rules[2], amount=5.0, line=4)],
            bundle(every),
            "int8",
            "theirs.yml",
        )
    )
    yield told((asked_of(bundle(every)) is not None, asked_of(Bundle(()))))
    yield from second_opinions(bundle(every), kept)
    passed = Verdict.PASS
    for wanted, threshold, low, high in (
        ("at least 90 %", 0.9, 0.9, 0.95), ("at least 90 %", 0.9, 0.899, 0.95), ("at most 0.1", 0.1, 0.05, 0.1), ("at most 0.1", 0.1, 0.05, 0.101), ("at most 0.1", None, 0.2, 0.3), ("at least 90 %", 0.9, None, 0.95), ("at least 90 %", 0.9, 0.5, None),
    ):  # fmt: skip
        for verdict in (passed, Verdict.FAIL):
            one = replace(gate("f1", verdict, threshold=threshold, low=low, high=high), wanted=wanted)
            yield told(_by_interval(one))


def second_opinions(known: Bundle, kept: Judged) -> Iterator[str]:
    """Which of several statements is asked, and what is made of corruptions whose rows are kept."""
    first, *others = known.statements
    without = replace(first, details=json.loads(json.dumps(encode(replace(kept, grounds=None)))))
    newer = replace(first, details={**first.details, "later": 1})
    tests = [
        statement("test", {"int8": A}, gates=(gate("sound", Verdict.PASS, whose),))
        for whose in ("int8", "fp32")
    ]
    for statements in ((without, first, *others), (first, without, *others), (newer, *others), (*known.statements, tests[0]), (*known.statements, tests[1]), (without, *others)):  # fmt: skip
        said, findings = replayed(Bundle(statements), "int8")
        yield told((said, findings))
    places = np.arange(60)[:, None]
    sound = CorruptionScores("fog", (1, 2), (places % 5 > 0) * np.ones((1, 2)), np.ones((60, 2)))
    rules = [Rule("robustness", "robustness", "at_least", 0.5), Rule("robustness[fog]", "robustness", "not_worse", 0.01, where="fog")]  # fmt: skip
    case = Case("int8", robustness={"fog": sound})
    results = judge(rules, case)
    grounds = grounds_of(rules, case, results, on_inconclusive="fail")
    for change in ({}, {"value": 0.7}, {"low": 0.6}, {"verdict": Verdict.INCONCLUSIVE}, {"blocking": False}):
        for place in range(2):
            gates = tuple(replace(one, **change) if at == place else one for at, one in enumerate(results))  # type: ignore[arg-type]
            details = json.loads(json.dumps(encode(replace(kept, grounds=grounds))))
            verdict = Verdict.worst(one.verdict for one in gates if one.blocking)
            made = statement("gate", {"int8": A}, gates=gates, verdict=verdict, details=details)
            said = told(replayed(Bundle((made,)), "int8"))
            yield re.sub(r"\d\.\d{7,}", lambda number: f"{float(number[0]):.6g}", said)


def histories() -> Iterator[str]:
    """Trends over versions, differences between two, and what is attested of one."""

    def version(
        label: str,
        digest: str,
        value: float,
        *,
        machine: str = "m1",
        data: str = "d1",
        where: str | None = None,
        metric: str = "accuracy",
    ) -> Any:
        taken = (
            Measurement("self_flips", "int8", 0.1),
            Measurement(metric, "int8", 0.5, where="class=1"),
            Measurement(metric, "int8", value, "1", 9, value - 0.1, value + 0.1, where),
            Measurement(metric, "fp32", 0.2),
        )
        made = (statement("evaluate", {"int8": digest, "fp32": C}, measurements=taken, inputs={"evaluation": data}), statement("benchmark", {"int8": digest}, measurements=(Measurement("latency_p50", "int8", value / 100, "s"),), inputs={"machine": machine}),
                statement("inspect", {"int8": digest}, measurements=(Measurement("size", "int8", 100 * value, "B"),)), statement("other", {"x": C}, measurements=(Measurement("size", "x", 1.0, "B"),)))  # fmt: skip
        return label, digest, made

    found = trends(
        [
            version("v1", A, 0.9),
            version("v2", B, 0.91, machine="m2"),
            version("v3", A, 0.92, machine="m2", data="d2"),
            version("v4", B, 0.8, metric="f1"),
        ]
    )
    for trend in (*found, *trends([version("v1", A, 0.9)]), *trends([])):
        yield told((line(trend), [[point.version for point in run] for run in trend.runs()]))
    old, new = (
        Manifest("m", (FileEntry("a", 10, A), FileEntry("b", 1, B))),
        Manifest("m", (FileEntry("a", 5, C), FileEntry("c", 1, B))),
    )
    before, after = (
        Bundle(version("v", manifest.digest, value)[2]) for manifest, value in ((old, 0.9), (new, 0.95))
    )
    yield line(difference((old, before), (new, after))).replace(old.digest, "OLD").replace(new.digest, "NEW")
    answered = [
        statement(
            "evaluate",
            {"int8": manifest.digest},
            details={
                "rows": 9,
                "weak_slices": [],
                "labels": [0, 1],
                "variants": {
                    "int8": {
                        "labels": own,
                        "signature": {"inputs": [], "outputs": []},
                        "confusion": [],
                        "calibration": [],
                    }
                },
            },
        )
        for manifest, own in ((old, []), (new, ["a", "b"]))
    ]
    for first in (old, new):
        yield attempted(
            lambda first=first: difference((first, Bundle(answered[:1])), (new, Bundle(answered[1:]))).labels
        )  # type: ignore[misc]
    lineage = decode(
        Lineage,
        {
            "source": "l.json",
            "parameters": {"lr": 0.1, "deep.n": [2, 3], "opt": "adam"},
            "seed": 3,
            "commit": "c" * 40,
            "environment": {"torch": "2.0"},
        },
        "it",
    )
    yield told(_recorded(lineage))
    yield from trained(old, new, lineage)
    record = ReleaseRecord(
        "m",
        "v1.1.0",
        "beta",
        "int8",
        "0" * 40,
        A,
        None,
        (FileEntry("gradatim.yml", 1, B), FileEntry("report.html", 2, C)),
    )
    for bundle in (
        Bundle((statement("build", {"int8": A}, inputs={"code": B, "a": C}, environment={"ci": "github", "run": "u", "python": "3.11", "x": 1}, details={"made": "now"}), statement("gate", {"int8": A}, gates=(gate("a", Verdict.PASS), gate("b", Verdict.INCONCLUSIVE), gate("c", Verdict.PASS, "fp32"))))),
        Bundle((statement("gate", {"int8": A}, gates=(gate("a", Verdict.PASS),)),)), Bundle(()),
    ):  # fmt: skip
        yield from (f"{name}: {data.decode()}" for name, data in attestations(record, old, bundle).items())
    yield told(sha256_bytes(b""))


def trained(old: Manifest, new: Manifest, lineage: Lineage) -> Iterator[str]:
    """What two releases differ in that their inspections tell, and what goes into their steps."""
    shape = Signature((TensorSpec("x", "float32", ("n", 2)),), ())
    data = {
        name: DataUsed("training", *given)
        for name, given in {"a": (A, "a.csv"), "b": (None, "b.csv", "md5:1"), "c": (None, "c.csv"), "d": ()}.items()
    }  # fmt: skip
    richer = replace(
        lineage, seed=4, data=data, metrics={"loss": LoggedMetric(0.5), "bad": LoggedMetric(None)}
    )
    looks = [
        Inspected(Inspection("onnx", {}, 5), *given)
        for given in ((None, None), (shape, lineage), (replace(shape, inputs=()), richer), (shape, None))
    ]
    for before in looks:
        for after in looks:
            bundles = [
                Bundle(
                    (
                        statement("inspect", {"int8": manifest.digest}, details=json.loads(json.dumps(encode(found))), inputs={"file": place, "same": A}),
                        statement(place[:1], {"int8": manifest.digest}, inputs={"only": B}),
                    )
                )
                for manifest, found, place in ((old, before, B), (new, after, C))
            ]  # fmt: skip
            found = difference((old, bundles[0]), (new, bundles[1]))
            yield told((found.signatures, found.training))
    yield told(found.inputs)


def trials_and_signers() -> Iterator[str]:
    """What became of a recipe, what a step found, and a signature by whom it is trusted, or not."""
    plain = Trial("int8", {"bits": 8}, True, "half the size", {"fidelity": 0.99})
    for size in (None, 0.5, 1.0):
        for latency in (None, 0.4, 0.97, 0.9701, 1.0, 1.0299, 1.03, 1.2):
            yield told(replace(plain, size_ratio=size, latency_ratio=latency).score)
    whole = replace(plain, size=5, size_ratio=0.25, latency_ratio=0.64, path=Path("/m"), digest=A, seconds=1.5, reused=True)  # fmt: skip
    yield told((whole.to_json(), replace(whole, size_ratio=None).to_json()))
    asked = TensorSpec(REQUEST, "str", None)
    for inputs in (None, (), (asked,), (TensorSpec("x", "float32", None),)):
        shape = None if inputs is None else Signature(inputs, ())
        yield told(Inspected(Inspection("onnx", {}, 5), shape).asked)
    details = json.loads(json.dumps(encode(Inspected(Inspection("onnx", {}, 5)))))
    for known in (None, statement("inspect", {"x": A}), statement("inspect", {"x": A}, details={"other": 1}), statement("inspect", {"x": A}, details=details), statement("inspect", {"x": A}, details={"signature": None})):  # fmt: skip
        yield attempted(lambda known=known: Inspected.if_any(known))  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        root = Path(name, "model")
        root.mkdir()
        (root / "m.onnx").write_bytes(b"weights")
        manifest = Manifest.of("m", root, [root / "m.onnx"])
        evidence = Bundle((statement("gate", {"int8": manifest.digest}, gates=(gate("a", Verdict.PASS), gate("b", Verdict.PASS))),))  # fmt: skip
        release = assemble(manifest, root, evidence, tag="v1", version="v1.0.0", stage=None, variant="int8", commit="0" * 40, previous=None)  # fmt: skip
        attested = {"provenance.sigstore.json": b"p"}
        bundle = signed()
        bundle["dsseEnvelope"]["payload"]["subject"] = [{"name": "m@v1.0.0"}]
        for covers in (release.with_signature(b"", attested).signable, release.signable):
            listed = [{"algorithm": "sha256", "name": entry.path, "digest": entry.sha256} for entry in covers]
            bundle["dsseEnvelope"]["payload"]["predicate"]["resources"] = listed
            data = written_down(bundle)
            for place, signer in enumerate(("release.pub", EnvironmentLacks("no packages"), BrokenEvidence("It is forged."), None)):  # fmt: skip

                def said(*_: object, signer: object = signer) -> str:
                    if isinstance(signer, Exception):
                        raise signer
                    return str(signer)

                patch.setattr(signatures_module, "signer_of", said)
                trust = Trust() if signer is None else Trust((Path("release.pub"),))
                folder = Path(name, f"{place}-{len(covers)}")
                folder.mkdir()
                for path, source in release.with_signature(data, attested).sources.items():
                    (folder / path).write_bytes(source if isinstance(source, bytes) else source.read_bytes())
                for demanded in (False, True):
                    wanted = Signatures(trust, demanded)
                    found = attempted(lambda folder=folder, wanted=wanted: verify_folder(folder, signatures=wanted))  # type: ignore[misc]  # fmt: skip
                    yield found.replace(name, "TMP").replace(manifest.digest, "DIGEST")
                    yield attempted(lambda wanted=wanted, data=data: wanted.judge(data, release.record, manifest, attested))  # type: ignore[misc]  # fmt: skip


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    made.__name__: made
    for made in (codec, statements, verifications, signatures, opinions, histories, trials_and_signers)
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_finding_and_no_word_about_evidence_changes_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
