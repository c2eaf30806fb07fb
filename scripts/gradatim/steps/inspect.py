"""inspect: what is in the model, before anything runs it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gradatim.candidate import training
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.outcome import Outcome
from gradatim.evidence.found import Inspected
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement, multiple
from gradatim.models.file_checks import check_files
from gradatim.models.language_files import AGAINST, FileCheck
from gradatim.models.opening import said_of

if TYPE_CHECKING:
    from gradatim.signature import Inspection

_MAY_DIFFER = (*AGAINST, "adapter_base", "adapter_tokenizer")


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    model = {"model": candidate.forms.original.manifest.digest, "contract": candidate.digests.part("model")}
    return {**model, **training.digests(candidate), **_beside(candidate)}


def _beside(candidate: Candidate) -> dict[str, str]:
    """The release that a language model's files are held against."""
    release = candidate.replaced.release if _speaks(candidate) else None
    return {"baseline": release.digest} if release else {}


def _speaks(candidate: Candidate) -> bool:
    path = candidate.model.path
    speaks = path.suffix == ".gguf" or (path / "tokenizer_config.json").is_file()
    return candidate.contract.parts.model.factory is None and speaks


def run(candidate: Candidate) -> Outcome:
    """Look the model over; refuse pickles, weights that are not finite, and training on the evaluation data."""
    model = candidate.contract.parts.model
    with candidate.progress.task("inspect", None):
        found = candidate.model.inspect()
    line, _ = candidate.contract.source.locate(("model", "path"), key=True)
    lineage = training.lineage_of(candidate)
    leaked = training.leak_gates(candidate, lineage) if lineage else ()
    gates = (*_gates(found, model.allow_pickle, line), *_file_gates(candidate, line), *leaked)
    measurements = [Measurement("size", ORIGINAL, float(found.size), "B")]
    if found.parameters is not None:
        measurements.append(Measurement("parameters", ORIGINAL, float(found.parameters)))
    return Outcome(
        _summary(found) + (f", trained as in {lineage.source}" if lineage else ""),
        {ORIGINAL: candidate.forms.original.manifest.digest},
        Verdict.worst(gate.verdict for gate in gates),
        tuple(measurements),
        gates,
        Inspected(found, found.signature, lineage),
    )


def _gates(found: Inspection, allow_pickle: bool, line: int) -> Iterator[GateResult]:
    if found.doubts and not allow_pickle:
        yield GateResult(
            "no_pickle", "no_pickle", Verdict.FAIL, ORIGINAL, "no pickle",
            f"no_pickle: the model brings {said_of(found.doubts)} Nothing was loaded. Save the model as ONNX, safetensors or "
            ".pt2; or say `model.allow_pickle: true` if you trust whoever made it.",
            value=float(len(found.doubts)), threshold=0.0, line=line,
        )  # fmt: skip
    if found.nonfinite:
        which = ", ".join(found.nonfinite[:3]) + (
            f" and {len(found.nonfinite) - 3} more" if len(found.nonfinite) > 3 else ""
        )
        yield GateResult(
            "finite_weights", "finite_weights", Verdict.INVALID, ORIGINAL, "finite weights",
            f"{_tensors(len(found.nonfinite))} NaN or infinity: {which}. The training diverged or the file is "
            "damaged: such a model loads without a word and answers nonsense. Train or export it again.",
            value=float(len(found.nonfinite)), threshold=0.0, line=line,
        )  # fmt: skip


def _file_checks(candidate: Candidate) -> list[FileCheck]:
    """What the files of a language model say of one another and of those that users have now, and an adapter's of its base."""
    said, model = candidate.contract.parts.model, candidate.model
    speaks = _speaks(candidate)
    return check_files(
        model.path if speaks else None,
        candidate.replaced.path if speaks else None,
        model.path,
        model.folder / said.adapter if said.adapter is not None else None,
        said.differs,
    )


def _file_gates(candidate: Candidate, line: int) -> Iterator[GateResult]:
    for check in _file_checks(candidate):
        verdict = Verdict.FAIL if check.fault else Verdict.PASS
        way = f" If that is meant, say `model.differs: [{check.name}]`." if check.name in _MAY_DIFFER else ""
        text = f"{check.name}: {check.fault}{way}" if check.fault else f"{check.name}: nothing is wrong."
        yield GateResult(
            check.name, check.name, verdict, ORIGINAL, check.name.replace("_", " "), text, line=line
        )


def _summary(found: Inspection) -> str:
    parts = [found.format]
    if "" in found.opset or "ai.onnx" in found.opset:
        parts[0] += f" opset {found.opset.get('', found.opset.get('ai.onnx'))}"
    if found.format == "pickle":
        return "a pickle, not loaded"
    if found.parameters is not None:
        factor, symbol = multiple(found.parameters, "count", digits=3)
        parts.append(f"{found.parameters / factor:.3g} {symbol}".rstrip() + " parameters")
    parts += [f"{why}: {name}" for name, why in found.doubts.items()][:1] or ["no pickle"]
    if found.nonfinite:
        parts.append(f"NaN in {len(found.nonfinite)} weight tensor{'s' if len(found.nonfinite) > 1 else ''}")
    return ", ".join(parts)


def _tensors(number: int) -> str:
    return "One weight tensor holds" if number == 1 else f"{number} weight tensors hold"
