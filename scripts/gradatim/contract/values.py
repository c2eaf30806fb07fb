"""How values are written in ``gradatim.yml``: names, quantities, shorthands, and what every section of it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from gradatim.contract.model_formats import FORMATS
from gradatim.metrics.catalogue import TASKS
from gradatim.quantity import parse_quantity

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_DEVICE = r"^(cpu|cuda(:\d+)?)$"
HUB_ID = r"^[\w.-]+(/[\w.-]+)?$"
HUB_ID_OF_OWNER = r"^[\w.-]+/[\w.-]+$"
LICENSE = r"^[A-Za-z0-9][A-Za-z0-9.+-]*( (AND|OR|WITH) [A-Za-z0-9.+-]+)*$"
PATTERNS = {
    _NAME: "letters, digits, `_`, `.` and `-` are wanted, a letter or digit first",
    _REFERENCE: "expected `module:function`",
    _DEVICE: "expected `cpu`, `cuda` or `cuda:1`",
    HUB_ID: "expected `NAME` or `OWNER/NAME`",
    HUB_ID_OF_OWNER: "expected `OWNER/NAME`",
    LICENSE: "expected an SPDX identifier, such as `Apache-2.0`",
}
"""What a text of each form looks like, for whoever wrote another."""

Name = Annotated[str, StringConstraints(pattern=_NAME, max_length=100)]
Reference = Annotated[str, StringConstraints(pattern=_REFERENCE)]
Text = Annotated[str, StringConstraints(min_length=1)]


def quantity(unit: str) -> BeforeValidator:
    return BeforeValidator(lambda written: parse_quantity(written, unit), json_schema_input_type=float | str)


Fraction = Annotated[float, Field(ge=0, le=1), quantity("1")]
Share = Annotated[float, Field(gt=0, le=10), quantity("1")]
Bytes = Annotated[float, Field(gt=0), quantity("B")]
Seconds = Annotated[float, Field(gt=0), quantity("s")]
Days = Annotated[float, Field(ge=0), quantity("days")]
RUNNER = "Which of `runners` does it in CI; the stage's when left out, else the workflow's own."
"""What `runner` means at any step."""

DataFormat = Literal["npz", "parquet", "csv", "jsonl", "folder", "function"]
if TYPE_CHECKING:
    Format: TypeAlias = str
    TaskType: TypeAlias = str
else:
    Format = Literal[tuple(FORMATS)]
    TaskType = Literal[TASKS]
Device = Annotated[str, StringConstraints(pattern=_DEVICE)]


def _is_no_truth(written: Any) -> Any:
    if isinstance(written, bool):
        raise ValueError(
            "a label is a text or a whole number, and YAML reads `yes`, `no`, `on` and `off` without quotes as "
            f"{str(written).lower()}: write it in quotes"
        )
    return written


Label = Annotated[str | int, BeforeValidator(_is_no_truth, json_schema_input_type=str | int)]


def as_list(written: Any) -> Any:
    return [written] if isinstance(written, str) else written


Texts = Annotated[tuple[Text, ...], BeforeValidator(as_list, json_schema_input_type=str | list[str])]


def shorthand(key: str, whole: Any, plain: Any = str) -> BeforeValidator:
    """Let one plain value stand for a mapping with that single key."""
    return BeforeValidator(
        lambda written: written if written is None or isinstance(written, dict) else {key: written},
        json_schema_input_type=plain | whole,
    )


class Section(BaseModel):
    """A mapping of the contract: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        protected_namespaces=(),
        defer_build=True,  # validators are made once, for the whole contract: a sixth of what reading one costs
    )
