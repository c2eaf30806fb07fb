"""The search for a smaller, faster model: every candidate is measured before it is believed.

Each recipe runs in its own process under a memory cap and a time limit; one that crashes is a trial with a reason, and
the search goes on. A candidate is refused when it does not load, gives numbers that are not finite, falls below what is
to be kept, is slower than allowed, or is neither smaller nor faster. Where a quantisation is refused only for its
quality, every node is measured in every form that it can take, and nodes take other forms, those first that give back the
most for what they cost, until the quality holds.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gradatim.compression import choice
from gradatim.compression.asking import request_of
from gradatim.compression.batches import Batch, calls_of, size_and_digest, write_batches
from gradatim.compression.journal import Journal
from gradatim.compression.ranges import RANGES
from gradatim.compression.recipe import (
    AS_GIVEN,
    DEFAULT_METHODS,
    EXPORT,
    FORMS_OF,
    LEARNT,
    NNCF,
    PRUNED,
    REVISION,
    Recipe,
    Stages,
    forms_of,
    recipes_for,
    remove_stale,
    with_own,
)
from gradatim.compression.result import Result, pareto, summary
from gradatim.compression.sandbox import Limits, attempt, scratch_in
from gradatim.compression.subject import (
    as_it_is,
    asks_for_text,
    bring_tokenizer,
    file_of,
    format_of,
    original_of,
    plain,
    tried,
    versions,
)
from gradatim.compression.terms import DEFAULT_KEEP, Terms, finite, promises
from gradatim.compression.thinning import thin
from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput
from gradatim.evidence.trial import Sensitivity, Trial
from gradatim.files import digest_of, sha256_file, write_json
from gradatim.timing.child import free_memory
from gradatim.timing.contestant import load_inputs, save_inputs
from gradatim.timing.machine import this_machine

Quality = Callable[[Path], Mapping[str, float]]
Progress = Callable[[str, int, int], None]
"""Called with the name of the trial that begins, how many are done, and how many there are, as is known."""

_MIXED_TRIALS = 6
_CAREFUL = 0.8


def compress(
    model: Path,
    out: Path,
    *,
    calibration: Callable[[], Iterator[Batch]],
    judging: Callable[[], Iterator[Batch]] | None = None,
    quality: Quality | None = None,
    keep: Mapping[str, float] | None = None,
    lower_is_better: Collection[str] = (),
    methods: Sequence[str] = DEFAULT_METHODS,
    passes: Sequence[str] = (),
    student: str | None = None,
    train: str | None = None,
    stages: Stages | None = None,
    root: Path | None = None,
    opened: Mapping[str, Any] | None = None,
    timing: Sequence[Batch] = (),
    seed: int = 0,
    threads: int = 1,
    slowest: float = 1.1,
    memory_limit: int | None = None,
    seconds_per_trial: float = 600,
    seconds: float | None = None,
    context: str = "",
    name: str = "fp32",
    progress: Progress | None = None,
) -> Result:
    """Try the methods on an ONNX model and keep the best variants whose quality holds.

    ``out`` holds ``<variant>/<file name of the model>`` for every accepted variant, ``search.json`` with the
    result so far, and ``trials.jsonl``, by which a second run, or one after a crash, re-uses what was done.

    Args:
        model: the model's file. PyTorch's formats are written as ONNX first, a form like any other, from which the others are
            made. A format that cannot be is kept as it is, which the result says.
        calibration: gives the batches, each with the model's inputs; not those that the gates judge on.
        judging: gives the batches on which forms are judged, where these must not be the same: ``pruned`` learns from the others.
        quality: metrics of a model file, measured on calibration data; on those of ``judging``, where there are any.
        keep: metric -> the share of the original's value that must be kept (0.99), likeness among them. Default: 95 % fidelity.
        lower_is_better: metrics for which ``keep`` is at least 1 and an upper bound (1.05: at most 5 % more).
        methods: names of ``recipe.METHODS``.
        passes, student, train: ``module:function`` of the user's own below ``root``, as the contract's ``compress`` describes them.
        stages: into which the best is cut at last; it is preferred then.
        opened: how the model is opened where it is no ONNX, as ``timing.contestant.described`` tells it.
        timing: calls as they will be made, by which latency is compared; left out, ``calls_of`` the first of the calibration data.
        slowest: the highest latency ratio that a smaller variant may cost.
        memory_limit: bytes for one trial; by default four fifths of what is free.
        seconds: limit for the whole search, which then ends with the best found so far; none when left out.
        context: digest of what ``quality`` depends on (code, data): what an earlier run measured is re-used only while that holds.
        name: what the uncompressed variant is called.

    Raises:
        InvalidInput: the model or the calibration data is broken, or the two do not fit each other.
        UsageError: an unknown method, or ``keep`` names a metric that is not measured.
        EnvironmentLacks: a package is missing, or ``out`` cannot be written.
    """
    started, machine = time.monotonic(), this_machine()
    recipes = with_own(recipes_for(tuple(methods), machine.flags), root or Path.cwd(), passes, student, train)
    original, kind = original_of(model, name), format_of(model)
    speaks = asks_for_text(opened)
    chosen = tried(recipes, model, kind, opened, default=methods is DEFAULT_METHODS, cut=bool(stages))
    if isinstance(chosen, str):
        return as_it_is(original, chosen)
    with scratch_in(out) as scratch:
        batches, digest = write_batches(calibration(), scratch)
        judged, other = (batches, digest) if judging is None else write_batches(judging(), scratch, "judged")
        calls = timing or calls_of(load_inputs(batches[0]))
        timed = [save_inputs(scratch / f"timing-{place}.npz", call) for place, call in enumerate(calls)]
        basis = {
            "model": original.digest, "calibration": digest, "judging": other, "timing": "+".join(map(sha256_file, timed[: len(timing)])) or None, "seed": seed,
            "threads": threads, "machine": machine.kind, "versions": versions(), "context": context, "quality": quality is not None,
        }  # fmt: skip
        until = seconds and started + seconds
        limits = Limits(memory_limit or free_memory(), seconds_per_trial, threads, until)
        search = _Search(
            model.absolute(), opened or plain(model.absolute(), threads), out, scratch, limits, batches, judged, timed, seed, quality,
            keep or DEFAULT_KEEP, lower_is_better, stages, root or Path.cwd(), slowest, Journal(out / "trials.jsonl"), basis, progress,
            scratch / "heard.json" if speaks else None,
        )  # fmt: skip
        return search.run(original, chosen)


class _TimeIsUp(Exception):
    """The limit for the whole search was passed."""


@dataclass
class _Search:
    model: Path
    opened: Mapping[str, Any]
    out: Path
    scratch: Path
    limits: Limits
    batches: list[Path]
    judged: list[Path]
    timing: list[Path]
    seed: int
    quality: Quality | None
    keep: Mapping[str, float]
    lower_is_better: Collection[str]
    stages: Stages | None
    root: Path
    slowest: float
    journal: Journal
    basis: Mapping[str, Any]
    progress: Progress | None
    heard: Path | None
    """Where is kept what the model is asked, if it is asked for text: then other forms are made than of any other model."""
    pace: float = 1.0
    """The latency of the model that the methods work on, as a part of the original's."""
    trials: list[Trial] = field(default_factory=list)
    sensitivities: tuple[Sensitivity, ...] = ()

    def run(self, original: Trial, recipes: Sequence[Recipe]) -> Result:
        self.file = file_of(self.model, exported=bool(recipes) and recipes[0].method == EXPORT)
        self.expected = len(recipes)
        self.original, self.over = original, ""
        try:
            self.original = self._measure_original(original)
            self.terms = Terms.of(self.original, self.keep, self.lower_is_better, self.slowest)
            self._save()
            self._try_all(recipes)
            self._cut_best()
        except _TimeIsUp:
            self.over = "The time for the search was over; "
        kept = {trial.name for trial in self.trials if trial.accepted}
        kept.add(EXPORT if self.model.parent.name == EXPORT else "")
        remove_stale(self.out, self.original.name, kept)
        return self._save()

    def _try_all(self, recipes: Sequence[Recipe]) -> None:
        plain = []
        for recipe in recipes:
            if recipe.method in LEARNT:
                held = (
                    thin(recipe, self._try, layers=not self.heard)
                    if recipe.method == PRUNED
                    else [self._try(recipe)]
                )
                self._go_on_from_smallest(
                    held, [each for each in recipes if each.method in (*FORMS_OF, NNCF)]
                )
                continue
            trial = self._try(recipe)
            if recipe.method == EXPORT and not self._go_on_from(trial):
                self._try_all([each for each in recipes if each.method in AS_GIVEN])
                return
            plain.append((recipe, trial))
            if (
                recipe.method == "int8-weights"
                and not self.heard
                and self.terms.only_slow(trial, self._pace_of(recipe))
            ):
                self.expected += 1
                self._try(replace(recipe, unpacked=True))
        for recipe, trial in sorted(plain, key=lambda one: one[1].score or math.inf):
            if (
                not self.heard
                and recipe.method in FORMS_OF
                and self.terms.only_quality_lacks(trial)
                and self._promises(trial)
                and not self._narrowed(recipe)
            ):
                self._mix(recipe, trial)

    def _go_on_from_smallest(self, held: Sequence[Trial], methods: Sequence[Recipe]) -> None:
        """Let the methods work on the smallest accepted form from which they make one that is accepted."""
        for trial in sorted((one for one in held if one.accepted), key=lambda one: one.size or 0):
            self._try_all([replace(each, base=trial.name) for each in methods])
            if any(form.accepted and form.recipe.get("base") == trial.name for form in self.trials):
                return

    def _source(self, recipe: Recipe) -> Path:
        """What a form in ONNX is made from."""
        return self.out / recipe.base / self.file if recipe.base else self.model

    def _made_from(self, recipe: Recipe) -> dict[str, Any]:
        """What a form depends on besides its recipe: one that is trained on its time, one made from that on its bytes."""
        if recipe.method in LEARNT:
            return {"seconds": self.limits.seconds}
        found: dict[str, Any] = {"least": self.terms.likeness} if recipe.method == NNCF else {}
        return found | ({"base": size_and_digest(self._source(recipe))[1]} if recipe.base else {})

    def _pace_of(self, recipe: Recipe) -> float:
        """The latency of what a form is made from, as a part of the original's."""
        ratios = [trial.latency_ratio for trial in self.trials if trial.name == recipe.base]
        return next((ratio for ratio in ratios if ratio is not None), 1.0)

    def _cut_best(self) -> None:
        """Cut the best form in ONNX into stages, where these are asked for; without any, the model that the methods work on."""
        forms = [trial for trial in self.trials if trial.recipe["method"] not in AS_GIVEN]
        export = next((trial for trial in forms if trial.name == EXPORT), self.original)
        best = next(iter(pareto(forms)), export)
        self.whole = best.path if best is not export and best.path else self.model
        if self.stages is not None and format_of(self.whole) == "onnx":
            self._try(Recipe(best.name, code=best.digest or "", stages=self.stages))

    def _go_on_from(self, export: Trial) -> bool:
        """Let the methods work on the exported model; False when there is none."""
        if export.latency_ratio is None:
            return False
        self.model, self.pace = self.out / export.name / self.file, export.latency_ratio
        return True

    def _measure_original(self, original: Trial) -> Trial:
        key = digest_of({**self.basis, "do": "original", "revision": REVISION})
        found = self.journal.get(key)
        started = time.monotonic()
        if found is None:
            self._announce(original.name)
            asked = {"do": "hear", "heard": str(self.heard)} if self.heard else {"do": "original"}
            answer = self._attempt(
                **asked, opened=self.opened, batches=[*map(str, self.judged if self.heard else self.batches)]
            )
            if "reason" in answer:
                raise InvalidInput(
                    f"The model {self.model} cannot be run on the calibration data: {answer['reason']} Compression needs both; see that the data has every input of the model."
                )
            quality = dict(self.quality(self.model)) if self.quality else {}
            found = {**answer, "quality": finite(quality, f"the metrics of {self.model.name}")}
            self.journal.put(key, found)
        measured = {**found["quality"], **found["likeness"]}
        return replace(original, quality=measured, seconds=time.monotonic() - started)

    def _try(self, recipe: Recipe) -> Trial:
        key = digest_of({**self.basis, "recipe": recipe.digest, **self._made_from(recipe)})
        found = self.journal.get(key)
        reused = found is not None and self._still_good(recipe, found)
        if found is None or not reused:
            self._announce(recipe.name)
            started = time.monotonic()
            found = self._make(recipe)
            found["seconds"] = time.monotonic() - started
            if not found.pop("transient", False):  # a limit that was passed may be a higher one next time
                self.journal.put(key, found)
        trial = replace(self._judge(recipe, found), reused=reused)
        if not trial.accepted and recipe.method != EXPORT:
            shutil.rmtree(self.out / recipe.name, ignore_errors=True)
        self.trials.append(trial)
        self._save()
        return trial

    def _make(self, recipe: Recipe) -> dict[str, Any]:
        """Carry out a recipe and measure it; the model is moved to its place once all is known."""
        folder = self.scratch / "candidate"
        shutil.rmtree(folder, ignore_errors=True)
        path = recipe.model_in(folder, self.file)
        asked = request_of(
            recipe, opened=self.opened, model=self.model, source=self._source(recipe), whole=getattr(self, "whole", None), root=self.root,
            learned=self.batches, ranges=self._ranges(recipe), heard=self.heard, limits=self.limits,
            least=self.terms.likeness,
        )  # fmt: skip
        found = self._attempt(
            **asked,
            out=str(path),
            batches=[*map(str, self.judged)],
            timing=[*map(str, self.timing)],
            seed=self.seed,
        )
        if "reason" in found:
            return found
        if path != folder:  # else it has its own
            bring_tokenizer(self.model, folder)
        size, digest = size_and_digest(path)
        found |= {"size": size, "digest": digest, "quality": {}}
        if self.quality:
            try:
                found["quality"] = finite(dict(self.quality(path)), "its metrics")
            except EnvironmentLacks:
                raise
            except GradatimError as error:
                return {**found, "reason": str(error)}
        place = self.out / recipe.name
        shutil.rmtree(place, ignore_errors=True)
        folder.replace(place)
        return found

    def _judge(self, recipe: Recipe, found: Mapping[str, Any]) -> Trial:
        """Accept or refuse what was measured; anew at each run, since ``keep`` may change in between."""
        trial = self.terms.measured(recipe, found, 1 if recipe.method in AS_GIVEN else self.pace)
        path = recipe.model_in(self.out / recipe.name, self.file)
        return self.terms.asked_for(trial, path, found) if recipe.stages else self.terms.judged(trial, path)

    def _promises(self, trial: Trial) -> bool:
        return promises(trial, self.trials)

    def _narrowed(self, recipe: Recipe) -> bool:
        """Whether a static recipe holds the quality with ranges that leave outliers out."""
        for kind in RANGES if recipe.method == "int8-static" else ():
            if self._try(replace(recipe, ranges=kind)).accepted:
                return True
        return False

    def _mix(self, recipe: Recipe, trial: Trial) -> None:
        """Let nodes take other forms, until the quality holds; then fewer of them, while it does."""
        way = self._way(recipe)
        low, high = 0, len(way.changes) + 1
        share = self.terms.share(trial)
        for _ in range(_MIXED_TRIALS):
            count = way.between(low, high, _CAREFUL * share)
            if not low < count < high:
                return
            mixed = self._try(replace(recipe, fallback=way.changes[:count]))
            # else it holds, or with so many changes it is too slow, or nothing is left
            if not self.terms.only_quality_lacks(mixed):
                high = count
            elif self._promises(mixed):
                low, share = count, self.terms.share(mixed)
            else:
                return

    def _way(self, recipe: Recipe) -> choice.Way:
        key = digest_of(
            {**self.basis, "do": "rank", "bits": recipe.reduce_range, "revision": REVISION, **self._made_from(recipe)}
        )  # fmt: skip
        found = self.journal.get(key)
        if found is None:
            self._announce("which nodes lose the quality")
            found = self._attempt(
                do="rank", model=str(self._source(recipe)), batches=[*map(str, self.batches)], ranges=str(self._ranges(recipe)),
                reduce_range=recipe.reduce_range, seconds=self.limits.seconds / 4, first=sorted({*FORMS_OF[recipe.method].values()}),
            )  # fmt: skip
            if "reason" in found:
                return choice.Way((), (0.0,))
            self.journal.put(key, found)
        if not recipe.base:
            self.sensitivities = tuple(
                Sensitivity(node, found["operators"][node], found["measured"][node])
                for node in found["able"]
                if node in found["measured"]
            )
        return choice.way(found, forms_of(recipe, found["operators"], found["able"]))

    def _attempt(self, **request: Any) -> dict[str, Any]:
        found = {} if self.limits.over() else attempt(self.scratch, self.limits, **request)
        if self.limits.over() and (not found or "reason" in found):
            raise _TimeIsUp
        return found

    def _ranges(self, recipe: Recipe) -> Path:
        return self.scratch / f"seen{recipe.base}.npz"

    def _still_good(self, recipe: Recipe, found: Mapping[str, Any]) -> bool:
        """Whether an earlier attempt holds: it failed, is refused, or its file is intact."""
        if "reason" in found or not (recipe.method == EXPORT or self._judge(recipe, found).accepted):
            return True
        path = recipe.model_in(self.out / recipe.name, self.file)
        try:
            return path.exists() and size_and_digest(path) == (found["size"], found["digest"])
        except InvalidInput:  # it is no model any more
            return False

    def _save(self) -> Result:
        """The result so far, on disk after each trial."""
        cut = tuple(trial for trial in self.trials if trial.accepted and trial.recipe.get("stages"))
        chosen = (*cut, *pareto([trial for trial in self.trials if trial not in cut]))
        why = self.over + summary(chosen, self.trials, goes_on=bool(self.over))
        result = Result(self.original, tuple(self.trials), chosen, why, self.sensitivities)
        write_json(self.out / "search.json", result.to_json())
        return result

    def _announce(self, what: str) -> None:
        if self.progress:
            done = len(getattr(self, "trials", ()))
            self.progress(what, done, max(done + 1, getattr(self, "expected", 1)))
