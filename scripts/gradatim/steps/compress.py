"""compress: is there a smaller, faster form that keeps the quality?"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.keeping import has_labels, kept_metrics
from gradatim.candidate.outcome import Outcome
from gradatim.evidence.found import Compressed, FormLeft
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.statement import MADE_FROM
from gradatim.files import digest_of
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.timing.machine import this_machine

if TYPE_CHECKING:  # imported where they are used: a step that is skipped costs no more than its digests
    import numpy as np
    from numpy.typing import NDArray

    from gradatim.compression.result import Result
    from gradatim.contract.compress import Compress
    from gradatim.models import Predictor

    Batch = dict[str, NDArray[Any]]

_HELD_OUT = 5


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    original = candidate.forms.original.manifest.digest
    if candidate.contract.parts.compress is None:
        return {MADE_FROM: original}
    return {
        MADE_FROM: original,
        "calibration": candidate.digests.data("calibration"),
        "contract": candidate.digests.part("model", "task", "compress"),
        "code": candidate.digests.code(("calibration",)),
        **({"calls": digest_of(calls)} if (calls := _calls(candidate)) else {}),
        "machine": this_machine().kind,
    }


def run(candidate: Candidate) -> Outcome:
    """Search on the calibration data; leave the best accepted variant to be judged, and always the original."""
    from gradatim.code.apart import Apart
    from gradatim.compression.recipe import DEFAULT_METHODS, Stages
    from gradatim.compression.search import compress

    settings = candidate.contract.parts.compress
    original = candidate.forms.original
    if settings is None:
        return Outcome(
            "not asked for", {ORIGINAL: original.manifest.digest}, found=Compressed((FormLeft(ORIGINAL),))
        )
    for function, key in settings.functions.items():
        with candidate.contract.blamed("compress", key):
            Apart(function, candidate.root)  # one that is not there is no matter of hours of trials
    threads = candidate.contract.parts.benchmark.threads or candidate.contract.parts.model.threads
    with candidate.progress.task("compress", None) as advance:
        result = compress(
            original.path,
            candidate.workspace.models,
            calibration=lambda: _calibration(candidate, _rows(settings, judging=False)),
            judging=(lambda: _calibration(candidate, _rows(settings, judging=True)))
            if settings.learns
            else None,
            quality=_quality(candidate, settings),
            keep=settings.keep or None,
            lower_is_better=_lower_is_better(candidate, settings),
            methods=DEFAULT_METHODS if settings.methods is None else settings.methods,
            passes=settings.passes,
            student=settings.student,
            train=settings.train,
            stages=Stages(settings.split.parts, settings.split.by) if settings.split else None,
            root=candidate.root,
            opened={**candidate.model.described(original.path), "threads": threads},
            timing=_declared(candidate),
            seed=candidate.contract.parts.test.seed,
            threads=threads,
            memory_limit=int(settings.memory) if settings.memory else None,
            seconds_per_trial=settings.timeout,
            seconds=settings.seconds,
            context=digest_of(
                [
                    original.manifest.digest,
                    candidate.digests.data("calibration"),
                    candidate.digests.code(("calibration",)),
                ]
            ),
            name=ORIGINAL,
            progress=lambda name, done, total: advance(1, f"{name} {done}/{total}"),
        )
    return _outcome(candidate, result)


def _outcome(candidate: Candidate, result: Result) -> Outcome:
    subjects, forms, outputs, sizes = {}, [], [], []
    for trial in result.chosen[:1]:  # the others stay in the report; each one judged costs its benchmark
        if trial.path is None:
            continue
        folder, file = (trial.path, ".") if trial.path.is_dir() else (trial.path.parent, trial.path.name)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = Manifest.of(candidate.name, folder, files)
        subjects[trial.name] = manifest.digest
        forms.append(FormLeft(trial.name, file))
        outputs += files
        sizes.append(Measurement("size", trial.name, float(manifest.size), "B"))
    subjects[ORIGINAL] = candidate.forms.original.manifest.digest
    sizes.append(Measurement("size", ORIGINAL, float(candidate.forms.original.manifest.size), "B"))
    found = Compressed((*forms, FormLeft(ORIGINAL)), result.trials, result.reason, result.sensitivities)
    best = f"best {result.best.name}" if result.chosen else "none passed; released as it is"
    return Outcome(
        f"{len(result.trials)} trial{'' if len(result.trials) == 1 else 's'}, {best}" if result.trials else result.reason,
        subjects, Verdict.PASS, tuple(sizes), (), found, tuple(outputs),
    )  # fmt: skip


class _Recorder:
    """Keeps the inputs that reach the model itself, constants and states filled in."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.signature = predictor.signature
        self.device = predictor.device
        self.threads = predictor.threads
        self.seen: list[Batch] = []

    def __call__(self, inputs: Mapping[str, NDArray[Any]], /) -> dict[str, NDArray[Any]]:
        self.seen.append(dict(inputs))
        return self._predictor(inputs)

    def close(self) -> None:
        self._predictor.close()

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rows(settings: Compress, *, judging: bool) -> NDArray[np.int64]:
    """Places of the calibration rows that are used, int64 [k]: where a form is trained, every fifth is kept to judge all on."""
    import numpy as np

    places = np.arange(settings.rows)
    return places[(places % _HELD_OUT == _HELD_OUT - 1) == judging] if settings.learns else places


def _calls(candidate: Candidate) -> dict[str, Any]:
    """What the contract declares of the calls that `benchmark` times."""
    benchmark = candidate.contract.parts.benchmark
    said = benchmark.model_dump(include={"batch", "threads"}, exclude_unset=True)
    return {key: value for key, value in said.items() if value is not None}


def _declared(candidate: Candidate) -> list[Batch]:
    """Calls with as many rows as the contract declares, of the calibration data, the largest first; none where it declares none."""
    import numpy as np

    found = []
    if _calls(candidate).get("batch"):
        for rows in sorted({size.batch for size in candidate.contract.parts.benchmark.sizes}, reverse=True):
            with closing(_calibration(candidate, np.arange(rows), rows)) as calls:
                found += [call for call in [next(calls, None)] if call is not None]
    return found


def _calibration(candidate: Candidate, rows: NDArray[np.int64], together: int = 0) -> Generator[Batch]:
    """Calibration rows as the model itself gets them, so many ``together``, or as many as `data.batch` says."""
    from gradatim.metrics.answers import REQUEST

    recorders: list[_Recorder] = []

    def watch(predictor: Predictor) -> Predictor:
        recorders.append(_Recorder(predictor))
        return recorders[-1]

    with candidate.model.open(candidate.forms.original.path, watch=watch) as predictor:
        dataset = candidate.rows.dataset("calibration", predictor.signature)
        asked = predictor.signature.input(REQUEST) is not None
        for batch in dataset.picked(rows, together or candidate.contract.parts.data.batch):
            if asked:  # the requests themselves: nothing is filled in, and an answer is dear
                yield batch.inputs
                continue
            predictor(batch.inputs)
            yield from recorders[0].seen
            recorders[0].seen.clear()


def _quality(candidate: Candidate, settings: Compress) -> Callable[[Path], Mapping[str, float]] | None:
    """The task's metrics on calibration data; None where nothing but likeness to the original can be measured."""
    from gradatim.metrics.evaluation import Evaluation
    from gradatim.metrics.measure import default_metrics
    from gradatim.models.predict import predict

    if candidate.contract.parts.task is None:
        return None
    task = candidate.rows.task()
    wanted = kept_metrics(candidate)
    if not wanted and (settings.keep or not has_labels(candidate)):
        return None

    def quality(path: Path) -> Mapping[str, float]:
        folder = Path(tempfile.mkdtemp(prefix="gradatim-"))
        try:
            with candidate.model.open(path) as predictor:
                dataset = candidate.rows.dataset("calibration", predictor.signature)
                batch = candidate.contract.parts.data.batch
                found = Evaluation(
                    task,
                    predict(
                        predictor,
                        dataset,
                        task,
                        folder / "predictions",
                        batch=batch,
                        picked=_rows(settings, judging=True),
                    ),
                )
            values = {name: found.samples(name).value for name in wanted or default_metrics(found)}
            return {name: value for name, value in values.items() if value is not None}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return quality


def _lower_is_better(candidate: Candidate, settings: Compress) -> list[str]:
    if candidate.contract.parts.task is None:
        return []
    task = candidate.rows.task()
    metrics = {name: task.metric(name) for name in settings.keep}
    return [name for name, metric in metrics.items() if metric is not None and not metric.higher_is_better]
