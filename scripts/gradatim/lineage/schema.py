"""What may stand in ``lineage.json``; ``docs/reference/lineage.schema.json`` is made from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Step = Annotated[int, Field(strict=True)]
Values = list[Number | None]
Pairs = list[tuple[Step, Number | None]]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """A data set that training read."""

    sha256: str | None = Field(None, description="Hex SHA-256 of the file, as `sha256sum` prints it.")
    path: str | None = Field(None, description="Where it lay in the repository, or its address.")
    use: Literal["training", "validation", "evaluation"] | None = Field(
        None,
        description="What it was for; told from the name when left out (`val`, `valid`, `validation`, `dev`: validation; `test`, "
        "`eval`, `evaluation`, `holdout`: evaluation; anything else: training).",
    )


class LineageFile(_Section):
    """lineage.json: what a model was trained on, how and with what."""

    schema_: str | None = Field(None, alias="$schema", description="Where this schema lies, for editors.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Hyperparameters by name; values may be nested."
    )
    data: dict[str, Annotated[Data, BeforeValidator(
        lambda written: {"sha256": written} if isinstance(written, str) else written,
        json_schema_input_type=str | Data,
    )]] = Field(default_factory=dict, description="Data sets by name: a SHA-256, or a mapping.")  # fmt: skip
    metrics: dict[str, Number | Values | Pairs] = Field(
        default_factory=dict,
        description="By name: the final value, a list of values, or a list of [step, value]. `null` stands for NaN or infinity.",
    )
    seed: int | None = Field(None, strict=True, description="Seed of the random numbers.")
    commit: str | None = Field(None, description="Id of the commit of the training code.")
    environment: dict[str, str] = Field(
        default_factory=dict, description="Package, `python` or device to its version or name."
    )
    started: str | None = Field(None, description="RFC 3339: 2026-01-31T12:00:00Z.")
    finished: str | None = Field(None, description="RFC 3339.")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``lineage.json``."""
    made = LineageFile.model_json_schema(mode="validation", by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "lineage.json"}
