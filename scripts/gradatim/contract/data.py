"""What a contract says of its data: where they are, and how to read them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from gradatim.contract.values import DataFormat, Reference, Section, Text, Texts, shorthand


class DataSetSection(Section):
    """A data set and how to read it; what is left out is taken from `data` itself."""

    path: Text = Field(
        description="A .npz, .parquet, .csv or .jsonl file, a folder of class folders or with a table of its "
        "files (`metadata.jsonl`), or `module:function`."
    )
    format: DataFormat | None = Field(None, description="Read off the path when left out.")
    label: Text | None = Field(None, description="Column of the labels.")
    inputs: dict[str, Texts] | None = Field(None, description="Columns that feed each input of the model.")
    slices: Texts | None = Field(None, description="Columns to report and gate by.")
    group: Text | None = Field(
        None, description="Column of the independent unit (user, document), resampled as a whole."
    )
    preprocess: Reference | None = Field(
        None, description="`module:function`: a batch of raw columns to the model's inputs."
    )


class CovariateSection(Section):
    """A number of every row that tells something of how it is answered: absolute gates are adjusted by it."""

    column: Text = Field(
        description="Column of the evaluation data: a difficulty, the score of an earlier model."
    )
    mean: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Its mean over all rows that there could be, where that is known.",
        examples=[0.31],
    )
    unlabelled: Text | None = Field(
        None,
        description="A larger file without labels, drawn as the evaluation data are, that has the column: its mean is taken, and how "
        "sure that is counted.",
        examples=["data/unlabelled.npz"],
    )

    @model_validator(mode="after")
    def _one_mean(self) -> CovariateSection:
        if (self.mean is None) == (self.unlabelled is None):
            raise ValueError(
                "say its `mean` over all rows, or in which `unlabelled` file that is found: one of the two"
            )
        return self


class DataSection(Section):
    """The data that the model is judged on, and the data that compression may learn from."""

    evaluation: Annotated[DataSetSection, shorthand("path", DataSetSection)] | None = Field(
        None, description="Held-out data: gates judge on it."
    )
    calibration: Annotated[DataSetSection, shorthand("path", DataSetSection)] | None = Field(
        None, description="Data for compression: calibrates and selects, and is never gated on."
    )
    training: Texts = Field(
        (),
        description="Text that the model was trained on, files or folders. Evaluation rows of which 8 or 13 words in a row stand in it are "
        "scored apart, as slices by `training_overlap`. Of rows (.npz, .parquet, .csv) those that are in the evaluation data are counted.",
    )
    label: Text | None = Field("label", description="Column of the labels.")
    inputs: dict[str, Texts] = Field(
        default_factory=dict, description="Columns that feed each input of the model."
    )
    slices: Texts = Field((), description="Columns to report and gate by.")
    group: Text | None = Field(
        None, description="Column of the independent unit (user, document), resampled as a whole."
    )
    preprocess: Reference | None = Field(
        None, description="`module:function`: a batch of raw columns to the model's inputs."
    )
    covariate: CovariateSection | None = Field(
        None,
        description="A column that adjusts gates on all rows with `at_least` or `at_most`: what it tells of how rows are answered is no "
        "chance any more. Gates that compare with the baseline have that already.",
    )
    weight: Text | None = Field(
        None,
        description="Column of the evaluation data's row weights, zero or more, where rows were not drawn as they occur (importance "
        "sampling). Means are weighted by them; gates that have no valid interval then are refused.",
    )
    batch: int = Field(32, ge=1, description="Rows per call of the model.")
    uses: int | None = Field(
        None, ge=1, le=60,
        description="For how many candidates the evaluation data must last. Each is counted in git before it is evaluated, and "
        "judged at an error of 5 % / 2^uses; a candidate too many proves nothing. Not counted when left out.",
    )  # fmt: skip
