"""benchmark: how fast is the candidate, beside the release that it would replace?"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.errors import UsageError
from gradatim.files import digest_of, nearest_file, write_bytes, write_json
from gradatim.gates.rule import paired_margins
from gradatim.gates.verdict import Verdict
from gradatim.measurement import multiple
from gradatim.metrics import catalogue
from gradatim.metrics.answers import REQUEST
from gradatim.timing.machine import has_gpu, this_machine

if TYPE_CHECKING:  # imported where they are used: a step that is skipped costs no more than its digests
    from numpy.typing import NDArray

    from gradatim.contract.benchmark import BenchmarkSection
    from gradatim.evidence.profile import Profile
    from gradatim.timing.contestant import Contestant
    from gradatim.timing.load import Load, LoadQuestion
    from gradatim.timing.locust import LocustPlan
    from gradatim.timing.paired import Question
    from gradatim.timing.result import PairedResult
    from gradatim.timing.streams import Streaming

_PATIENCE = 300.0
_PROMPTS = 256
_AT_A_SERVER = 64
LOADGEN = "loadgen"
"""Folder of the workspace with LoadGen's own logs."""
_TABLED = 2
"""Seconds of a run of locust without which its tables of failures are empty."""
_SERVED = "the server at `benchmark.load.url` answers for the model as it was built"
_LOCUSTFILE = ("benchmark", "load", "locustfile")
_OWN = "a model of your own does not tell its answers token by token"


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    baseline = candidate.replaced.release
    return {
        **{f"variant:{variant.name}": variant.manifest.digest for variant in candidate.forms.all},
        "baseline": baseline.digest if baseline else digest_of(None),
        "evaluation": candidate.digests.data("evaluation"),
        "contract": candidate.digests.part("model", "benchmark"),
        "margins": digest_of(paired_margins(candidate.contract.rules_for(candidate.stage))),
        "code": candidate.digests.code(),
        **_users(candidate),
        "machine": digest_of(candidate.waits) if _waits(candidate) else this_machine().kind,
    }


def _users(candidate: Candidate) -> dict[str, str]:
    """Digest of what locust's users do, by what they are called, where the contract has any."""
    from gradatim.code import closure_digest

    load = candidate.contract.parts.benchmark.load
    if load is None or load.locustfile is None:
        return {}
    file = candidate.root / load.locustfile
    with candidate.contract.blamed(*_LOCUSTFILE):
        if not file.is_file():
            near = nearest_file(candidate.root, load.locustfile)
            raise UsageError(f"There is no {load.locustfile}.{near}")
        if not file.resolve().is_relative_to(candidate.root.resolve()):
            raise UsageError(f"{load.locustfile} lies outside of the contract's folder: name a file in it.")
        return {"users": closure_digest(candidate.root, file)}


def _waits(candidate: Candidate) -> bool:
    """Whether there is no GPU here and need not be one."""
    return candidate.waits is not None and not has_gpu()


def run(candidate: Candidate) -> Outcome:
    """Time every variant and the baseline against one another, in fresh processes, round by round."""
    from gradatim.timing.decision import LOOKS
    from gradatim.timing.paired import compare
    from gradatim.timing.result import unloaded, unmeasured, unstreamed

    subjects = {variant.name: variant.manifest.digest for variant in candidate.forms.all}
    if candidate.contract.data_set("evaluation") is None:
        return Outcome("no evaluation data in the contract to time with", subjects)
    if _waits(candidate):
        candidate.workspace.benchmark.unlink(missing_ok=True)
        waits = str(candidate.waits)
        sizes = [size.name for size in candidate.contract.parts.benchmark.sizes if size.name]
        nothing = tuple(one for name in subjects for one in unmeasured(name, waits, sizes))
        nothing += tuple(one for name in subjects for one in unstreamed(name, waits) if _speaks(candidate))
        nothing += tuple(unloaded(name, waits) for name in subjects if _searched(candidate))
        return Outcome(
            "waits for a GPU, which this pull request does not get", subjects, measurements=nothing
        )
    settings = candidate.contract.parts.benchmark
    _loaders(candidate)  # before an hour of rounds, not after it
    variants = {variant.name: variant.path for variant in candidate.forms.all}
    baseline = candidate.replaced.path
    paths = {BASELINE: baseline, **variants} if baseline is not None else variants
    contestants = {name: _contestant(candidate, name, path) for name, path in paths.items()}
    streaming = streaming_of(candidate, contestants.values())
    rows, queries, readers, round_seconds = _inputs(candidate, paths, settings, streaming)
    batch = next(iter(rows.values()))
    margins = _margins(candidate, streaming)
    rounds = settings.rounds if baseline is not None else min(LOOKS[0], settings.rounds)
    with candidate.progress.task("benchmark", settings.rounds) as advance:
        more = ", six times that at most" if rounds == LOOKS[-1] else ""
        expected = round(round_seconds * len(contestants) * min(rounds, LOOKS[0]))
        advance(0, f"about {expected} s{more}")

        def tell(done: int, most: int, known: str) -> None:
            advance(1, known)

        released = baseline is not None
        found = compare(
            list(contestants.values()),
            batch,
            questions=_questions(variants, margins, released=released),
            rounds=rounds,
            progress=tell,
            timeout=max(_PATIENCE, *(2 * c.endpoint.get("timeout", 0) for c in contestants.values())),
            streaming=streaming,
            sizes=rows if len(rows) > 1 else None,
        )
    found = replace(found, loads=_loads(candidate, contestants, queries, streaming))
    path = candidate.workspace.benchmark
    write_json(path, found.to_json())
    summary = (
        _summary(found, BASELINE if released else ORIGINAL) + _tokenizer_in(readers, released) + _borne(found)
    )
    measured = [*found.measurements()]
    if streaming is None and _speaks(candidate):
        measured += [one for name in subjects for one in unstreamed(name, _OWN)]
    if _searched(candidate):
        loaded = {load.name for load in found.loads}
        measured += [unloaded(name, _SERVED) for name in subjects if name not in loaded]
    return Outcome(summary, subjects, Verdict.PASS, tuple(measured), outputs=(path,))


def profile_forms(candidate: Candidate) -> list[Profile]:
    """What the runtime's profiler sees of every form, and keeps in the workspace for the report.

    Raises:
        UsageError: the contract has no evaluation data to call the model with.
        InvalidInput: something else than PyTorch and ONNX Runtime runs the model.
    """
    from gradatim.evidence.codec import encode
    from gradatim.evidence.profile import Profile
    from gradatim.timing.contestant import save_inputs
    from gradatim.timing.profile import operators_of, watched_by

    if candidate.contract.data_set("evaluation") is None:
        raise UsageError(
            "There is no evaluation data in the contract to call the model with. Add `data.evaluation`."
        )
    settings = candidate.contract.parts.benchmark
    forms = candidate.forms.all
    rows = _inputs(
        candidate, {form.name: form.path for form in forms}, settings, streaming_of(candidate, ())
    )[0]
    found = []
    with tempfile.TemporaryDirectory(prefix="gradatim-profile-") as name:
        inputs = save_inputs(Path(name, "rows.npz"), next(iter(rows.values())))
        for form in forms:
            contestant = _contestant(candidate, form.name, form.path)
            with candidate.contract.blamed("model"):
                operators, trace, by = operators_of(contestant, inputs, Path(name))
                beside = watched_by(contestant, inputs, Path(name))
            path, places = candidate.workspace.profile(form.name), []
            for file in filter(None, (trace, beside)):
                kept = path.with_name(file.name)
                write_bytes(kept, file.read_bytes())
                places.append(str(kept.relative_to(candidate.workspace.folder.parent)))
            told = (contestant.device, places[0], operators, by, places[1] if beside else None)
            seen = Profile(form.name, form.manifest.digest, *told)
            write_json(path, encode(seen))
            found.append(seen)
    return found


def _contestant(candidate: Candidate, name: str, path: Path) -> Contestant:
    """A form, or the baseline, as the contract has it timed."""
    said = candidate.contract.parts.benchmark
    return replace(
        candidate.model_of(name).contestant(name, path, said.threads), cuda_graphs=said.cuda_graphs
    )


def _searched(candidate: Candidate) -> bool:
    """Whether the highest rate of queries is asked for."""
    load = candidate.contract.parts.benchmark.load
    return load is not None and "server" in load.scenarios


def _speaks(candidate: Candidate) -> bool:
    """Whether the model is asked for text."""
    signature = candidate.model.signature
    return signature is not None and signature.input(REQUEST) is not None


def streaming_of(candidate: Candidate, contestants: Iterable[Contestant]) -> Streaming | None:
    """What is asked of models that tell their answers token by token; None where one of them does not."""
    from gradatim.timing.streams import Streaming

    task = candidate.contract.parts.task
    if (
        not _speaks(candidate)
        or (task and task.type == "speech_recognition")
        or any(one.factory or one.command for one in contestants)
    ):
        return None
    said = candidate.contract.parts.benchmark.streaming
    rows = candidate.rows.dataset("evaluation", candidate.model.signature).head(_PROMPTS).inputs[REQUEST]
    bounds = said.goodput.model_dump(exclude_none=True) if said.goodput else {}
    return Streaming(tuple(map(str, rows)), said.tokens, said.prompts, bounds)


def _inputs(
    candidate: Candidate, paths: Mapping[str, Path], settings: BenchmarkSection, streaming: Streaming | None
) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, NDArray[Any]], frozenset[str], float]:
    """The first rows, as candidate and baseline take them: either may know an input that the other does not.

    Returns:
        A batch of each size of call, by its name; rows for the queries of a load; which of the two are given text: their tokenizer
        is part of the call that is timed; and about how long a round takes for each, in seconds.
    """
    from gradatim.timing.blocks import round_seconds
    from gradatim.timing.queries import MOST
    from gradatim.timing.sizes import so_long, so_many

    sizes = settings.sizes
    rows = max(max(size.batch for size in sizes), sizes[0].batch * (MOST if settings.load else 1))
    queries: dict[str, NDArray[Any]] = {}
    found: dict[str, dict[str, NDArray[Any]]] = {size.name: {} for size in sizes}
    readers: dict[str, str] = {}
    longest = 0.0
    for name in (BASELINE, ORIGINAL):
        path = candidate.forms.original.path if name == ORIGINAL else paths.get(name)
        if path is not None:
            began = time.monotonic()
            with candidate.model_of(name).open(path) as predictor:
                opening = time.monotonic() - began
                own = candidate.rows_of(name).dataset("evaluation", predictor.signature).head(rows).inputs
                takes = streaming.seconds(predictor) if streaming else 0.0
                for size in sizes:
                    taken: Mapping[str, NDArray[Any]] = so_many(own, size.batch)
                    if size.length is not None:
                        with candidate.contract.blamed("benchmark", "lengths"):
                            taken = so_long(taken, size.length, predictor)
                    found[size.name] |= taken
                    takes += 0.0 if streaming else round_seconds(partial(predictor, taken))
                if settings.load and sizes[0].length is not None:
                    own = so_long(own, sizes[0].length, predictor)
                queries |= own
                longest = max(longest, opening + takes)
                if predictor.signature.text is not None:
                    readers[name] = predictor.signature.text.name
    given = found[sizes[0].name]
    return found, queries, frozenset(name for name, text in readers.items() if text in given), longest


def _loads(
    candidate: Candidate,
    contestants: Mapping[str, Contestant],
    rows: Mapping[str, NDArray[Any]],
    streaming: Streaming | None,
) -> tuple[Load, ...]:
    """What load each form of the candidate bears; a server answers for the model as it was built alone."""
    from gradatim.timing.contestant import save_inputs
    from gradatim.timing.load import bears, stressed_by_users

    said, logs = candidate.contract.parts.benchmark.load, candidate.workspace.folder / LOADGEN
    shutil.rmtree(logs, ignore_errors=True)
    if said is None:
        return ()
    alone = said.url or said.locustfile
    asked = {n: one for n, one in contestants.items() if n == ORIGINAL or (n != BASELINE and not alone)}
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="gradatim-load-") as scratch,
        candidate.progress.task("load", None) as advance,
    ):
        most = said.budget * (bool(said.by_loadgen) + bool(said.locustfile)) * len(asked)
        advance(0, f"about {f'{most:.0f} s' if most < 90 else f'{most / 60:.0f} min'} at most")
        inputs = save_inputs(Path(scratch, "rows.npz"), rows)
        for name, one in asked.items():
            question = load_asked(
                candidate, one.endpoint.get("parallel", 1), streaming.tokens if streaming else 0
            )
            told = partial(_told, lambda what: advance(0, what), name)
            with candidate.contract.blamed("benchmark", "load"):
                load = bears(one, inputs, question, logs / name, told)
            if said.locustfile:
                with candidate.contract.blamed(*_LOCUSTFILE):
                    load = stressed_by_users(
                        load, users_asked(candidate, load.where), said.budget, logs / name, told
                    )
            found.append(load)
    return tuple(found)


def _loaders(candidate: Candidate) -> None:
    """What drives the load that the contract asks for is there; raises EnvironmentLacks."""
    from gradatim.timing.loadgen import its_package
    from gradatim.timing.locust import its_program

    load = candidate.contract.parts.benchmark.load
    if load is not None and load.by_loadgen:
        its_package()
    if load is not None and load.locustfile:
        with candidate.contract.blamed(*_LOCUSTFILE):
            its_program()


def users_asked(candidate: Candidate, where: str) -> LocustPlan:
    """What locust's users are told, by the contract.

    Args:
        where: the address of the server; another text where the locustfile says it.
    """
    from gradatim.timing.locust import LocustPlan

    said = candidate.contract.parts.benchmark.load
    assert said is not None  # noqa: S101 (it is asked for where there is one)
    host = "/".join(where.split("/")[:3]) if "://" in where else ""
    file = candidate.root / (said.locustfile or "")
    return LocustPlan(file, candidate.root, host, said.p99 or 0, max(_TABLED, math.ceil(said.seconds)))


def load_asked(candidate: Candidate, parallel: int, tokens: int) -> LoadQuestion:
    """What load is tried, by the contract.

    Args:
        parallel: queries that the model takes at a time, where the contract does not say.
        tokens: of an answer, where answers come token by token; else 0.
    """
    from gradatim.timing.load import LoadQuestion
    from gradatim.timing.queries import LoadQuery

    benchmark = candidate.contract.parts.benchmark
    said = benchmark.load
    assert said is not None  # noqa: S101 (it is asked for where there is one)
    at_once = said.parallel or (_AT_A_SERVER if said.url else parallel)
    asked = LoadQuery(benchmark.sizes[0].batch, said.url or "", tokens)
    return LoadQuestion(said.by_loadgen, said.p99 or 0, said.seconds, said.budget, at_once, asked)


def _told(tell: Callable[[str], None], name: str, what: str) -> None:
    tell(f"{name}: {what}")


def _tokenizer_in(readers: frozenset[str], beside: bool) -> str:
    """Whose tokenizer the timing includes, in words."""
    if not readers:
        return ""
    if beside and len(readers) == 1:
        return f", tokenizer included for the {'baseline' if BASELINE in readers else 'candidate'} alone"
    return ", tokenizer included"


def _questions(variants: Iterable[str], margins: Mapping[str, float], *, released: bool) -> list[Question]:
    """Every form beside the baseline, whichever of them the gate refuses later; without one, beside the original."""
    from gradatim.timing.paired import Question

    if not released:
        return [Question(name, ORIGINAL) for name in variants if name != ORIGINAL]
    return [Question(name, BASELINE, margin, metric=m) for name in variants for m, margin in margins.items()]


def _margins(candidate: Candidate, streaming: Streaming | None = None) -> dict[str, float]:
    """The margin of each metric that a question is about, as far as it can be timed."""
    rules = candidate.contract.rules_for(candidate.stage)
    return paired_margins(rule for rule in rules if streaming or not catalogue.is_streamed(rule.metric))


def _borne(result: PairedResult) -> str:
    """The highest rate of queries that the candidate bore, where one was found."""
    rate = next((load.bore for load in result.loads if load.bore), None)
    return f", bears {rate:.4g} queries a second" if rate else ""


def in_its_own_unit(seconds: float) -> str:
    """``2 s``, ``12.3 ms``, ``4.12 us``."""
    factor, symbol = multiple(seconds, "s", digits=3)
    return f"{seconds / factor:.3g} {symbol.replace('µ', 'u')}"


def _summary(result: PairedResult, against: str) -> str:
    """``paired, 10 rounds, latency_floor -58.3 % (-59.1 .. -57.4)``."""
    if not result.comparisons:
        one = result.contestants[0]
        p50 = one.level("latency_p50")
        return f"{one.rounds} rounds, p50 {in_its_own_unit(p50.value if p50 else 0)}, nothing to compare with"
    first = result.comparisons[0]
    whom = "" if against == BASELINE else f" against {against}"
    if first.ratio is None or first.low is None or first.high is None:
        return f"undecided: {first.reason}"
    low, value, high = (f"{(ratio - 1) * 100:+.1f}" for ratio in (first.low, first.ratio, first.high))
    rounds = first.shown.looks[-1].rounds
    why = f"; ended early: {first.reason}" if first.reason else ""
    return f"paired, {rounds} rounds, {first.shown.metric} {value} % ({low} .. {high}){whom}{why}"
