"""The parts of a contract about a release once it is judged: where it goes, what it must prove on traffic, and where it serves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model, field_validator, model_validator

from gradatim.contract.stores import STORES, Store
from gradatim.contract.values import Fraction, Section, Text


class CanaryGate(Section):
    """One rule that a candidate must prove on real traffic."""

    at_least: Any = Field(None, description="Bound from below: `90%`, `0.9`, or `99% of baseline`.")
    at_most: Any = Field(None, description="Bound from above: `1%`, `5 MB`, `10 ms`, or `110% of baseline`.")
    not_worse_than: Literal["baseline"] | None = Field(
        None, description="Compare with the release that would be replaced."
    )
    not_slower_than: Literal["baseline"] | None = Field(
        None, description="The same, for latency and throughput."
    )
    by: Any = Field(
        None, description="How much worse is tolerated: `1%` is one point of a fraction, 1 % of a latency."
    )
    confidence: Fraction = Field(0.95, description="One-sided confidence of the verdict.")

    @field_validator("confidence")
    @classmethod
    def _open_interval(cls, confidence: float) -> float:
        if not 0.5 <= confidence < 1:
            raise ValueError("a confidence lies between 50% and 100%, 100% excluded")
        return confidence


class Deploy(Section):
    """Where a stage's release serves: exactly one of these keys."""

    folder: Text | None = Field(
        None,
        description="A folder, relative to this file: versions lie in `versions/`, and the link `current` is swapped in one move.",
        examples=["/srv/models/digits"],
    )
    command: Text | None = Field(
        None,
        description="Your own command; `{version}`, `{stage}`, `{folder}` (of the verified files) and `{manifest}` are filled in.",
        examples=["./deploy.sh {version} {folder}"],
    )

    kubernetes: Literal["kserve", "kserve-percent", "argo-rollouts", "deployment"] | None = Field(
        None,
        description="Manifests for a cluster, applied by kubectl: KServe's InferenceService (needs `storage`; `kserve-percent` for "
        "canaries on Knative, or before KServe 0.20), an Argo Rollout with its analysis, or a Deployment and a Service (both need `image`).",
    )
    image: Text | None = Field(
        None,
        description="The image that runs, `{version}` filled in; see `gradatim package --for docker`.",
        examples=["ghcr.io/team/digits:{version}"],
    )
    storage: Text | None = Field(
        None,
        description="Where KServe finds the model's files, `{version}` filled in.",
        examples=["s3://models/digits/{version}"],
    )

    @model_validator(mode="after")
    def _one(self) -> Deploy:
        if sum(one is not None for one in (self.folder, self.command, self.kubernetes)) != 1:
            raise ValueError("a deployment names one of `folder`, `command` and `kubernetes`")
        wanted = {None: None, "kserve": "storage", "kserve-percent": "storage"}.get(self.kubernetes, "image")
        for key in ("image", "storage"):
            if (getattr(self, key) is not None) != (key == wanted):
                belongs = "KServe" if key == "storage" else "`argo-rollouts` and `deployment`"
                raise ValueError(f"`{key}` belongs to {belongs}, and is needed there")
        return self

    @property
    def kind(self) -> Literal["folder", "command", "kubernetes"]:
        """The key that is given."""
        if self.kubernetes is not None:
            return "kubernetes"
        return "folder" if self.folder is not None else "command"

    @property
    def address(self) -> str:
        """Its value; on Kubernetes the image, or where the model's files are."""
        return str(self.folder or self.command or self.image or self.storage)


class Destination(Section):
    """One place where releases are published: exactly one of these keys."""

    @model_validator(mode="after")
    def _one_place(self) -> Destination:
        if len(self.model_fields_set) != 1:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"each entry names one place, by one of: {known}")
        if self.address is None and not STORES[self.kind].of_the_remote:
            example = STORES[self.kind].example
            raise ValueError(f"`{self.kind}` needs to know where: `- {self.kind}: {example}`")
        return self

    @property
    def kind(self) -> str:
        """The key that is given: ``folder``, ``s3``, ..."""
        return next(iter(self.model_fields_set))

    @property
    def address(self) -> str | None:
        """Its value; None for the repository that the git remote is of."""
        written: str | None = getattr(self, self.kind)
        return written


def _key(store: Store) -> Any:
    """The key of a kind of place, as a field of ``Destination``."""

    def check(written: str) -> str:
        if not re.fullmatch(store.address, written):
            raise ValueError(f"an address such as `{store.example}` is wanted, got `{written}`")
        return written

    return (
        Annotated[Text, AfterValidator(check)] | None,
        Field(None, description=store.described, examples=[store.example]),
    )


if not TYPE_CHECKING:  # a key for each row of the table; code asks for `kind` and `address` alone
    Destination = create_model(
        "Destination",
        __base__=Destination,
        __doc__=Destination.__doc__,
        **{kind: _key(store) for kind, store in STORES.items()},
    )


def _destination(written: Any) -> Any:
    return {written: None} if isinstance(written, str) else written


class Publish(Section):
    """Where releases go, and what they tell of themselves."""

    to: tuple[
        Annotated[Destination, BeforeValidator(_destination, json_schema_input_type=str | Destination)], ...
    ] = Field((), description="The places.")
    outcomes: bool = Field(
        False,
        description="Whether the evidence tells of each row, in the order of the data and without the row, if each gated metric that "
        "is right or wrong held on it: one bit a row for the candidate and one for the baseline, from which anybody counts again.",
    )
