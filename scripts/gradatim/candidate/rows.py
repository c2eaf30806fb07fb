"""The rows that a contract judges on, its task, and what models answered to them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gradatim.contract.reading import ReadContract
from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError
from gradatim.metrics.catalogue import ASKED
from gradatim.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradatim.contract.data import DataSetSection
    from gradatim.contract.subject import TaskSection
    from gradatim.data import Asking, Dataset
    from gradatim.metrics.scorers.table import Scoring
    from gradatim.metrics.task import Label, OwnMetric, Task
    from gradatim.metrics.units import Units

Floats: TypeAlias = "NDArray[np.float64]"

_OF_ROWS = (".npz", ".parquet", ".pq", ".csv", ".tsv")
"""What files of rows are called; anything else in ``data.training`` is text."""

UNLABELLED = ("embedding", "language_modelling", *ASKED)
"""Tasks that can be judged without labels."""


@dataclass(frozen=True)
class Rows:
    """What a contract says about its data and its task.

    Attributes:
        contract: the candidate's: which rows there are.
        fed: whose inputs and preprocessing count: the candidate's, or those of the release that it would replace.
    """

    contract: ReadContract
    fed: ReadContract

    def dataset(self, which: str, signature: Signature | None) -> Dataset:
        """A data set of the contract: ``evaluation`` or ``calibration``.

        Raises:
            UsageError: the contract has no such data.
            InvalidInput: it is empty or broken; names the line of the contract.
        """
        chosen = self.contract.data_set(which)
        if chosen is None:
            raise UsageError(f"The contract names no `data.{which}`. Add it under `data:`.")
        from gradatim.data.feeds import WrongWidth

        with self.contract.blamed("data", which):
            try:
                return self._opened(which, chosen, signature)
            except WrongWidth as error:
                raise InvalidInput(f"{error}{self._only_elsewhere(which, error.columns)}") from None

    def _opened(self, which: str, chosen: DataSetSection, signature: Signature | None) -> Dataset:
        from gradatim.data import open_data
        from gradatim.metrics.scored import no_references

        contract = self.contract
        inputs, preprocess = self.feeding("evaluation" if which == "training" else which)
        task = contract.parts.task
        label, slices, group = self._columns_that_may_lack(which, chosen)
        for scoring in task.scorings if task and which == "evaluation" and label is None else ():
            if scoring.needs_references:
                raise InvalidInput(no_references(scoring.name))
        dataset = open_data(
            chosen.path,
            root=contract.root,
            signature=signature,
            label=label,
            inputs=inputs,
            slices=slices,
            group=group,
            labels=task.labels if task and task.labels and task.type != "detection" else None,
            preprocess=preprocess,
            format=chosen.format,
            asked=self._asked(),
            training=[
                contract.root / path
                for path in contract.parts.data.training
                if which == "evaluation" and not path.lower().endswith(_OF_ROWS)
            ],
            weight=self._weight(which, chosen),
        )
        if dataset.reads_text and task and task.type == "token_classification":
            raise UsageError(
                "Tags belong to tokens, and a column of text does not say to which. Make the tokens in `data.preprocess`, and "
                f"let it return the column `{label}` with one tag for each, -100 where none counts."
            )
        return dataset

    def _weight(self, which: str, chosen: DataSetSection) -> str | None:
        """The column of weights; of data that teach where they have it, for it is no input."""
        from gradatim.data import open_data

        weight = self.contract.parts.data.weight
        if weight is None or which == "evaluation":
            return weight
        there = open_data(chosen.path, root=self.contract.root, label=None, format=chosen.format).columns
        return weight if weight in there else None

    def trained_on(self, signature: Signature) -> list[Dataset]:
        """The rows that ``data.training`` names beside text, fed to the model like the evaluation data.

        Raises:
            InvalidInput: they are broken, or have not the columns; names the line of the contract.
        """
        data, alike = self.contract.parts.data, self.contract.data_set("evaluation")
        paths = [path for path in data.training if alike and path.lower().endswith(_OF_ROWS)]
        with self.contract.blamed("data", "training"):
            return [
                self._opened("training", alike.model_copy(update={"path": path, "format": None}), signature)
                for path in paths
                if alike
            ]

    def covariate(self) -> list[tuple[Floats, Units]]:
        """The contract's covariate of every row, float64 [n], and what stands by itself among these; and the same of the unlabelled
        rows, where its mean comes from these.

        Raises:
            InvalidInput: a file is not there or lacks a column, or a row has no finite number in the covariate's; names the line of
                the contract.
        """
        from gradatim.data import open_data
        from gradatim.metrics.units import Units

        said, chosen = self.contract.parts.data.covariate, self.contract.data_set("evaluation")
        assert said is not None  # noqa: S101 (the caller looked)
        assert chosen is not None  # noqa: S101 (the contract was checked)
        found = []
        with self.contract.blamed("data", "covariate"):
            for path, form in ((chosen.path, chosen.format), (said.unlabelled, None)):
                if path is not None:
                    opened = open_data(
                        path, root=self.contract.root, label=None, format=form, group=chosen.group
                    )
                    x = opened.numbers(said.column)
                    found.append((x, Units.of(opened.group_values(), x.shape[0])))
        return found

    def _asked(self) -> Asking | None:
        """How a row becomes a request, where the task is to generate text."""
        task = self.contract.parts.task
        if task is None or task.type not in ASKED:
            return None
        from gradatim.data import Asking
        from gradatim.data.prompts import SPOKEN, WRITTEN
        from gradatim.metrics.answers import REQUEST

        said = task.generation.model_dump(exclude_none=True, exclude={"shots", "cut_off"})
        paired = {"spread"} if any(rule.metric == "kl" for rule in self.contract.all_rules()) else set()
        compared = {"text"} if task.judge else set()
        wants = sorted({scoring.reads for scoring in task.scorings} | paired | compared)
        return Asking(
            REQUEST,
            {**said, "wants": wants},
            tuple((one.prompt, one.answer) for one in task.generation.shots),
            SPOKEN if task.type == "speech_recognition" else WRITTEN,
        )

    def _only_elsewhere(self, which: str, columns: Sequence[str]) -> str:
        """The columns that the contract's other data have and these lack, in words; empty where there are none."""
        from gradatim.data import open_data

        other = next(
            (
                name
                for name in ("evaluation", "calibration")
                if name != which and self.contract.data_set(name)
            ),
            None,
        )
        with contextlib.suppress(GradatimError):
            data = self.contract.data_set(other) if other else None
            if data is not None:
                there = open_data(data.path, root=self.contract.root, label=data.label, format=data.format)
                known = {*columns, data.label, data.group, *(data.slices or ())}
                if lacking := [column for column in there.columns if column not in known]:
                    return (
                        f" `data.{other}` has {', '.join(f'`{column}`' for column in lacking[:5])} besides."
                    )
        return ""

    def feeding(self, which: str) -> tuple[Mapping[str, Sequence[str]] | None, str | None]:
        """How the columns of a data set become the model's inputs: which columns feed which, and the preprocessing.

        A release's own contract says how it is fed. Where the data no longer have a column that it names, they were
        laid out anew, and the candidate's contract knows how.
        """
        from gradatim.data import open_data

        mine, theirs = self.contract.data_set(which), self.fed.data_set(which)
        if mine is None or theirs is None or self.fed is self.contract:
            chosen = theirs or mine
            return (chosen.inputs, chosen.preprocess) if chosen else (None, None)
        named = {column for columns in (theirs.inputs or {}).values() for column in columns}
        there = open_data(mine.path, root=self.contract.root, label=None, format=mine.format).columns
        chosen = theirs if named <= set(there) else mine
        return chosen.inputs, chosen.preprocess

    def _columns_that_may_lack(
        self, which: str, chosen: DataSetSection
    ) -> tuple[str | None, tuple[str, ...], str | None]:
        """Label, slices and group of a data set, without what it need not have and has not.

        Calibration data teach and never judge: of those three, they need what is said of them alone. Evaluation data
        need a label unless the task does without one.
        """
        from gradatim.data import open_data

        contract = self.contract
        label, slices, group = chosen.label, chosen.slices or (), chosen.group
        task = contract.parts.task
        teaches = which != "evaluation"
        unlabelled = task is not None and task.type in UNLABELLED and not contract.says("data", "label")
        if not (teaches or (label and unlabelled)) or not (label or slices or group):
            return label, slices, group
        columns = open_data(chosen.path, root=contract.root, label=None, format=chosen.format).columns
        if label and (contract.root / chosen.path).is_dir():
            with contextlib.suppress(InvalidInput):  # no class folders, so no labels
                columns = open_data(
                    chosen.path, root=contract.root, label=label, format=chosen.format
                ).columns

        def kept(key: str, column: str) -> bool:
            return column in columns or (teaches and contract.says("data", which, key))

        label = label if label and kept("label", label) else None
        if teaches:
            slices = tuple(column for column in slices if kept("slices", column))
            group = group if group and kept("group", group) else None
        return label, slices, group

    def task(self, judge: Task | None = None, called: Mapping[str, Label] | None = None) -> Task:
        """What the model does.

        Args:
            judge: whose own metrics count; the contract's, loaded, where none is given.
            called: what a candidate calls labels of this contract, by their names here.

        Raises:
            UsageError: the contract names no task.
        """
        from gradatim.code.apart import Apart
        from gradatim.metrics.task import BoxOutputs, Task

        task = self.contract.parts.task
        if task is None:
            raise UsageError("The contract names no `task`. Add one, for example: task: classification")
        own: Mapping[str, OwnMetric] = judge.own if judge else {}
        seen = judge.seen if judge else {name: m.outputs for name, m in task.metrics.items() if m.outputs}
        if judge is None:
            root = self.contract.root
            with self.contract.blamed("task"):
                own = {name: Apart(said.function, root) for name, said in task.metrics.items()}
        # taken over whole: a key of the contract that `Task` does not know is an error here, never lost on the way
        taken = {**dict(task), "labels": task.labels or None, "called": called or {}}
        taken["boxes"] = BoxOutputs(**dict(task.boxes))
        if judge:  # how the data are laid out is the candidate's contract to say
            taken["boxes"] = replace(taken["boxes"], label_form=judge.boxes.label_form)
        taken |= {"samples": task.generation.samples, "cut_off": task.generation.cut_off}
        if judge:  # both errors are measured by the same season
            taken |= {"season": judge.season, "history": task.history or judge.history}
        taken["scorers"] = judge.scorers if judge else self._scorings(task)
        del taken["metrics"], taken["renamed"], taken["generation"], taken["judge"]
        return Task(**taken, own=own, seen=seen)

    def _scorings(self, task: TaskSection) -> tuple[Scoring, ...]:
        from gradatim.code.apart import Apart
        from gradatim.metrics.scorers.structured import checked

        root, found = self.contract.root, []
        for scoring in task.scorings:
            function = task.scorers[scoring.name].function
            with self.contract.blamed("task", "scorers", scoring.name):
                if schema := scoring.settings.get("json_schema"):
                    with contextlib.suppress(EnvironmentLacks):  # told where answers are scored
                        checked(schema)
                found.append(replace(scoring, own=Apart(function, root)) if function else scoring)
        return tuple(found)

    @property
    def golden_file(self) -> Path | None:
        """The contract's golden file, where it names one that is there."""
        golden = self.contract.parts.test.golden
        path = self.contract.root / golden if golden else None
        return path if path and path.is_file() else None
