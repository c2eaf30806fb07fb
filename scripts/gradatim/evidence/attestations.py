"""What a signer attests of a release in the words of others: how it was built (SLSA [1]_) and what it was tested for (in-toto [2]_).

Each is a statement about every file of the model, in an envelope (DSSE) within a sigstore bundle, beside ``release.sig``, which
covers them. So tools that know nothing of gradatim check a file of the model by itself::

    cosign verify-blob-attestation --key release.pub --insecure-ignore-tlog --type slsaprovenance1 \
        --bundle provenance.sigstore.json model.onnx

.. [1] https://slsa.dev/spec/v1.0/provenance
.. [2] https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradatim.evidence.found import Tested
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import CONTRACT_FILE, PROVENANCE_FILE, TEST_RESULT_FILE, ReleaseRecord
from gradatim.evidence.statement import STATEMENT_TYPE, Bundle, Statement
from gradatim.files import canonical_json
from gradatim.gates.verdict import Verdict

PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
_BUILD = "urn:gradatim:build:v1"


def attestations(record: ReleaseRecord, manifest: Manifest, evidence: Bundle) -> dict[str, bytes]:
    """What there is to attest of a release: in-toto statements, canonical JSON, by the file that each is for.

    Args:
        record: what the release is made of.
        manifest: the model's files, of which the statements speak.
        evidence: every statement of the release.
    """
    predicates = {
        PROVENANCE_FILE: (PROVENANCE, _provenance(record, evidence)),
        TEST_RESULT_FILE: (TEST_RESULT, _test_result(record, evidence)),
    }
    subject = [{"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in manifest.files]
    return {
        name: canonical_json(
            {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": kind, "predicate": predicate}
        )
        for name, (kind, predicate) in predicates.items()
    }


def _provenance(record: ReleaseRecord, evidence: Bundle) -> dict[str, Any]:
    """Which commit, contract and data went in, and where that was."""
    build = next(iter((*evidence.of("build"), *evidence.statements)), None)
    surroundings: Mapping[str, Any] = build.environment if build else {}
    made = {"invocationId": surroundings.get("run"), "finishedOn": build.made if build else None}
    return {
        "buildDefinition": {
            "buildType": _BUILD,
            "externalParameters": {
                "name": record.name, "version": record.version, "stage": record.stage, "variant": record.variant
            },
            "internalParameters": {key: surroundings[key] for key in ("python", "packages", "isolation") if key in surroundings},
            "resolvedDependencies": [
                {"name": "source", "digest": {"gitCommit": record.commit}},
                *(_resource(name, digest) for name, digest in _inputs(evidence).items()),
            ],
        },
        "runDetails": {
            "builder": {
                "id": f"urn:gradatim:builder:{surroundings.get('ci', 'unknown')}",
                "version": {"gradatim": build.gradatim} if build else {},
            },
            "metadata": {key: value for key, value in made.items() if value},
            "byproducts": [_resource(entry.path, entry.sha256) for entry in record.files],
        },
    }  # fmt: skip


def _test_result(record: ReleaseRecord, evidence: Bundle) -> dict[str, Any]:
    """What passed and what did not, by name: the checks of behaviour, then the gates."""
    verdicts: dict[str, Verdict] = {}
    for statement in evidence.of("test"):
        verdicts |= {f"{check.group}: {check.name}": check.verdict for check in _checks(statement)}
    for statement in evidence.of("gate"):
        mine = [gate for gate in statement.gates if gate.variant == record.variant]
        verdicts |= {f"gate {gate.gate} ({gate.wanted})": gate.verdict for gate in mine}
    passed = [name for name, verdict in verdicts.items() if verdict is Verdict.PASS]
    warned = [name for name, verdict in verdicts.items() if verdict is not Verdict.PASS]
    contract = [entry for entry in record.files if entry.path == CONTRACT_FILE]
    return {
        "result": "WARNED" if warned else "PASSED",
        "configuration": [
            *(_resource(entry.path, entry.sha256) for entry in contract),
            *(_resource(name, digest) for name, digest in _inputs(evidence).items()),
        ],
        "passedTests": passed,
        "warnedTests": warned,  # a release has none that refuses
    }


def _checks(statement: Statement) -> tuple[Any, ...]:
    found = Tested.if_any(statement)
    return found.checks if found else ()


def _inputs(evidence: Bundle) -> dict[str, str]:
    """What the steps looked at, hex SHA-256 by step and name."""
    steps = ("build", "test", "evaluate")
    return {
        f"{statement.step}: {name}": digest
        for step in steps
        for statement in evidence.of(step)
        for name, digest in sorted(statement.inputs.items())
    }


def _resource(name: str, digest: str) -> dict[str, Any]:
    """in-toto's ResourceDescriptor."""
    return {"name": name, "digest": {"sha256": digest}}
