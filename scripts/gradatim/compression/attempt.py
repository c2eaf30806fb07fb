"""One attempt in a process of its own: ``python -m gradatim.compression.attempt REQUEST ANSWER``.

It carries out a recipe and measures what came out, or what each node loses in each form. A recipe
that crashes, swells or hangs takes only this process with it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradatim.code import explaining, load_function
from gradatim.compression import graph, language, streaming
from gradatim.compression.batches import Batch
from gradatim.compression.calibration import Calibrated
from gradatim.compression.distilling import distil
from gradatim.compression.fidelity import Fidelity
from gradatim.compression.halving import halve
from gradatim.compression.layers import trainable
from gradatim.compression.naming import shorten_names
from gradatim.compression.nncf_quantising import quantise_by_nncf
from gradatim.compression.parity import check_parity
from gradatim.compression.pruning import prune
from gradatim.compression.quantise import quantise, quiet_logs
from gradatim.compression.recipe import NNCF, PRUNED, Recipe
from gradatim.compression.schooling import student_of, train_by
from gradatim.compression.sensitivity import sensitivities
from gradatim.compression.shortening import shorten
from gradatim.compression.splitting import memory_of, split
from gradatim.errors import GradatimError, InvalidInput
from gradatim.evidence.codec import decode
from gradatim.files import write_json
from gradatim.models import batched, convert_model, export_model, open_model
from gradatim.models.divergence import chances, likeness
from gradatim.models.onnx_export import export_torch
from gradatim.timing.blocks import interleaved, lower_quartile
from gradatim.timing.contestant import load_inputs, open_described
from gradatim.timing.worker import die_with

if TYPE_CHECKING:
    from gradatim.models import Predictor

_TOLD_CHARACTERS = 300


def main(request: Path, answer: Path) -> None:
    wanted = json.loads(request.read_text())
    die_with(wanted.pop("parent"))
    _limit_memory(wanted.pop("memory_limit"))
    quiet_logs()
    works: dict[str, Callable[..., dict[str, Any]]] = {
        "try": _try, "export": _export, "learn": _learn, "split": _split, "litert": _litert, "halve": _halve, "rank": _rank, "original": _original,
        "speak": _speak, "hear": _hear,
    }  # fmt: skip
    work = works[wanted.pop("do")]
    try:
        found = work(**wanted)
    except GradatimError as error:
        found = {"reason": str(error), "exit_code": error.exit_code}
    except MemoryError:
        found = {"reason": "it needs more memory than it may use", "transient": True}
    except Exception as error:
        # Quantisers raise what they like (AssertionError, RuntimeError, onnx's own): a reason, not a bug.
        lines = str(error).strip().splitlines() or ["no message"]
        found = {"reason": f"{type(error).__name__}: {lines[0][:_TOLD_CHARACTERS]}"}
    write_json(answer, found)


def _try(
    model: str, source: str, out: str, recipe: dict[str, Any], root: str, learned: list[str], batches: list[str], ranges: str,
    timing: list[str], threads: int, seed: int, least: tuple[str, float],
) -> dict[str, Any]:  # fmt: skip
    wanted = decode(Recipe, recipe, "recipe")
    stored = streaming.BITS.get(wanted.method)
    if stored and not wanted.unpacked and not wanted.fallback and graph.is_large(Path(source)):
        streaming.stream(Path(source), Path(out), stored)
    elif wanted.method == NNCF:
        graph.save(quantise_by_nncf(graph.prepare(Path(source)), _paths(learned), *least), Path(out))
    elif wanted.code:
        _carry_out(wanted.method, Path(root), Path(model), Path(out))
    else:
        bits = 7 if wanted.reduce_range else 8
        calibrated = Calibrated(
            graph.prepare(Path(source)), _paths(learned), Path(ranges), bits, wanted.ranges
        )
        form = quantise(wanted, calibrated)
        shorten_names(form)
        graph.save(form, Path(out))
        del calibrated, form
    with _opened(Path(model), threads) as original, _opened(Path(out), threads) as candidate:
        fidelity = _fidelity(original, candidate, _paths(batches))
        ratio = _latency_ratio(original, candidate, _calls(timing), seed, one_thread=threads == 1)
    return {"fidelity": fidelity, "latency_ratio": ratio}


def _export(
    opened: dict[str, Any], out: str, batches: list[str], timing: list[str], seed: int
) -> dict[str, Any]:
    """Write the model as ONNX; refused unless it answers as before, whatever the number of rows."""
    with open_described(opened) as original:
        export_model(original, Path(opened["path"]), load_inputs(Path(batches[0])), Path(out))
        with _opened(Path(out), opened["threads"]) as exported:
            parity = check_parity(original, exported, (load_inputs(path) for path in _paths(batches)))
            fidelity = _fidelity(original, exported, _paths(batches))
            ratio = _latency_ratio(
                original, exported, _calls(timing), seed, one_thread=_in_one_thread(opened)
            )
    return {"fidelity": {**fidelity, "parity": parity}, "latency_ratio": ratio}


def _learn(
    opened: dict[str, Any], model: str, recipe: dict[str, Any], root: str, learned: list[str], seconds: float, out: str,
    batches: list[str], timing: list[str], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Take channels and layers out, or have the user's own network made; let it learn to answer as before, and write what came of it as ONNX."""
    wanted, inputs = decode(Recipe, recipe, "recipe"), load_inputs(Path(learned[0]))
    with open_described(opened) as original, open_described(opened) as another:
        if wanted.student:
            smaller = student_of(wanted.student, Path(root), original, inputs, seed)
        else:
            smaller = trainable(another)
            prune(smaller, wanted.share, inputs)
        if wanted.shorter:
            shorten(smaller, wanted.shorter, inputs, seed)
        if wanted.train:
            train_by(wanted.train, Path(root), smaller, original, _paths(learned))
        else:
            distil(original, smaller, _paths(learned), seed, seconds)
        export_torch(smaller, inputs, Path(out))
        with (
            _opened(Path(model), opened["threads"]) as before,
            _opened(Path(out), opened["threads"]) as after,
        ):
            parity = check_parity(smaller, after, (load_inputs(path) for path in _paths(batches)))
            fidelity = _fidelity(before, after, _paths(batches))
            ratio = _latency_ratio(before, after, _calls(timing), seed, one_thread=_in_one_thread(opened))
    return {"fidelity": {**fidelity, "parity": parity}, "latency_ratio": ratio}


def _halve(
    opened: dict[str, Any], out: str, learned: list[str], batches: list[str], timing: list[str], seed: int
) -> dict[str, Any]:
    """Write the model as a program of PyTorch's that computes in bfloat16."""
    with open_described(opened) as original, open_described(opened) as another:
        halve(another, load_inputs(Path(learned[0])), Path(out))
        with open_model(Path(out), root=Path(out).parent, threads=opened["threads"]) as candidate:
            fidelity = _fidelity(original, candidate, _paths(batches))
            ratio = _latency_ratio(
                original, candidate, _calls(timing), seed, one_thread=_in_one_thread(opened)
            )
    return {"fidelity": fidelity, "latency_ratio": ratio}


def _litert(
    opened: dict[str, Any], numbers: str, out: str, learned: list[str], batches: list[str], timing: list[str], seed: int
) -> dict[str, Any]:  # fmt: skip
    """Write the model as LiteRT, run by its own runtime, item by item: its sizes are fixed."""
    with open_described(opened) as original:
        rows = (load_inputs(path) for path in _paths(learned))
        convert_model(original, Path(opened["path"]), rows, Path(out), numbers)
        with open_model(Path(out), root=Path(out).parent, threads=opened["threads"]) as candidate:
            each = batched(candidate)
            fidelity = _fidelity(original, each, _paths(batches))
            if numbers == "float":
                fidelity["parity"] = check_parity(
                    original, each, (load_inputs(path) for path in _paths(batches))
                )
            ratio = _latency_ratio(
                original, each, _calls(timing)[-1:], seed, one_thread=_in_one_thread(opened)
            )
    return {"fidelity": fidelity, "latency_ratio": ratio}


def _split(
    model: str, whole: str, parts: int, by: Literal["size", "time"], out: str, batches: list[str], timing: list[str], threads: int, seed: int
) -> dict[str, Any]:  # fmt: skip
    """Cut a form into stages, which must answer as it does; and see what memory each takes."""
    inputs = load_inputs(Path(timing[0]))
    paths = split(Path(whole), Path(out), parts, by, inputs)
    with (
        _opened(Path(model), threads) as original,
        open_model(Path(out), root=Path(out), threads=threads) as stages,
    ):
        with _opened(Path(whole), threads) as uncut:
            parity = check_parity(uncut, stages, (load_inputs(path) for path in _paths(batches)))
        fidelity = _fidelity(original, stages, _paths(batches))
        ratio = _latency_ratio(original, stages, _calls(timing), seed, one_thread=threads == 1)
    return {
        "fidelity": {**fidelity, "parity": parity}, "latency_ratio": ratio,
        "sizes": [path.stat().st_size for path in paths], "memory": memory_of(paths, inputs, threads),
        "memory_whole": memory_of([Path(whole)], inputs, threads)[0],
    }  # fmt: skip


def _speak(
    opened: dict[str, Any], source: str, recipe: dict[str, Any], root: str, learned: list[str], heard: str, seconds: float,
    out: str, batches: list[str], timing: list[str], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """A form of a model that is asked for text."""
    wanted = decode(Recipe, recipe, "recipe")
    if wanted.student or wanted.train:
        raise InvalidInput("`student` and `train` are for models that are not asked for text")
    if wanted.code:
        _carry_out(wanted.method, Path(root), Path(source), Path(out))
    elif wanted.method == PRUNED and Path(source).is_dir():
        language.shortened(opened, Path(out), wanted.share, learned, seed, seconds)
    else:
        language.stored(Path(source), Path(out), wanted)
    with open_described(opened) as original:
        lines = language.asked(original, Path(heard), batches)
        answers = chances(original, lines)
        with open_described({**opened, "path": out, "format": None}) as candidate:
            fidelity = likeness(answers, chances(candidate, lines))
            ratio = _latency_ratio(
                original, candidate, _calls(timing)[-1:], seed, one_thread=_in_one_thread(opened)
            )
    return {"fidelity": fidelity, "latency_ratio": ratio}


def _hear(opened: dict[str, Any], batches: list[str], heard: str) -> dict[str, Any]:
    """Does the calibration data fit a model that is asked for text?"""
    with open_described(opened) as original:
        answers = chances(original, language.asked(original, Path(heard), batches))
    return {"likeness": likeness(answers, answers)}


def _carry_out(reference: str, root: Path, model: Path, out: Path) -> None:
    """Let the user's own function write another model."""
    out.parent.mkdir(parents=True, exist_ok=True)
    function = load_function(reference, root)
    with explaining(
        reference, root, "It is called with the path of a model and the path to write another to."
    ):
        function(model, out)
    if not out.exists():
        raise InvalidInput(
            f"`{reference}` wrote no model to the path that it was given, its second argument."
        )


def _rank(
    model: str, batches: list[str], ranges: str, reduce_range: bool, seconds: float, first: Sequence[str] = ()
) -> dict[str, Any]:
    """What each node loses in each form."""
    bits = 7 if reduce_range else 8
    return sensitivities(
        Calibrated(graph.prepare(Path(model)), _paths(batches), Path(ranges), bits), seconds, first
    )


def _original(opened: dict[str, Any], batches: list[str]) -> dict[str, Any]:
    """Does the calibration data fit the model at all, and what of its outputs can be compared?"""
    fidelity = Fidelity()
    with open_described(opened) as predictor:
        for path in _paths(batches):
            outputs = predictor(load_inputs(path))
            fidelity.add(outputs, outputs)
    return {"likeness": fidelity.result()}


def _fidelity(original: Predictor, candidate: Predictor, batches: Sequence[Path]) -> dict[str, float]:
    fidelity = Fidelity()
    for path in batches:
        inputs = load_inputs(path)
        fidelity.add(original(inputs), candidate(inputs))
    return fidelity.result()


def _latency_ratio(
    original: Predictor, candidate: Predictor, calls: Sequence[Batch], seed: int, *, one_thread: bool = False
) -> float:
    """The candidate's time as a part of the original's, for the call where it is slower.

    A form may be fast for one row and slow for many. A call after the first does not count where the original refuses it, which
    then takes no single row.
    """
    ratios: list[float] = []
    for rows in calls:
        try:
            original(rows)
        except InvalidInput:
            if not ratios:
                raise
            continue
        timed = {"original": lambda rows=rows: original(rows), "candidate": lambda rows=rows: candidate(rows)}
        minima = interleaved(timed, seed, one_thread=one_thread)
        ratios.append(lower_quartile(minima["candidate"]) / lower_quartile(minima["original"]))
    return max(ratios)


def _in_one_thread(opened: Mapping[str, Any]) -> bool:
    """Whether one thread of this process does all of a call's work."""
    return (opened["threads"], opened["device"]) == (1, "cpu")


def _calls(timing: Sequence[str]) -> list[Batch]:
    return [load_inputs(path) for path in _paths(timing)]


def _opened(path: Path, threads: int) -> Predictor:
    return open_model(path, root=path.parent, format="onnx", threads=threads)


def _paths(names: Sequence[str]) -> list[Path]:
    return [Path(name) for name in names]


def _limit_memory(limit: int) -> None:
    """A hard stop somewhat above the limit that the parent watches, for what grows too fast to be watched."""
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit + limit // 4 + (256 << 20),) * 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
