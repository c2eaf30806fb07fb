"""The kinds of places that `publish:` may name: one row each, for all who must know about it.

The contract's schema, the documentation, the actions' inputs, the workflows' secrets and what is installed come from these
rows. A kind is a row here and a file of its name in ``gradatim.publishers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Credential:
    """A secret that a kind of place asks for.

    Attributes:
        variable: the environment variable that its programs expect: ``HF_TOKEN``.
        secret: what it is called as a secret of a workflow: ``huggingface-token``.
        meaning: what it is, in a line.
    """

    variable: str
    secret: str
    meaning: str


@dataclass(frozen=True)
class Store:
    """A kind of place that releases are published to.

    Attributes:
        kind: the key under ``publish:``, and the module in ``gradatim.publishers``: ``s3``.
        publisher: the class in that module.
        meaning: what it is and how its address is written, for the contract's reference.
        example: such an address.
        release: what one release is there.
        address: regular expression of its addresses; any text where it is left out.
        extra: the extra of the kit that brings what it needs; None where that is nothing.
        access: who may write there: one or two sentences, for the documentation and for errors.
        credentials: the secrets that CI hands on. A forge has none: its jobs have a token of their own.
        of_the_remote: whether it can be the repository that the git remote is of.
    """

    kind: str
    publisher: str
    meaning: str
    example: str
    release: str
    address: str = r"(?s).+"
    extra: str | None = None
    access: str = "Whoever may write there."
    credentials: tuple[Credential, ...] = ()
    of_the_remote: bool = False

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables of its credentials."""
        return tuple(credential.variable for credential in self.credentials)

    @property
    def described(self) -> str:
        """All that the contract's reference says of it."""
        return f"{self.meaning} Needs the extra `{self.extra}`. {self.access}" if self.extra else self.meaning


_SERVER = r"https?://[A-Za-z0-9.-]+(:\d+)?"
_PROJECT = rf"({_SERVER}/)?[\w.-]+(/[\w.-]+)+"

_ROWS = (
    Store(
        kind="folder",
        publisher="FolderPublisher",
        meaning="A folder, relative to this file.",
        example="releases/",
        release="`FOLDER/v1.4.0/`",
    ),
    Store(
        kind="s3",
        publisher="S3Publisher",
        meaning="A bucket and a prefix on S3; for another store that speaks its protocol add `?endpoint=https://HOST`.",
        example="s3://models/releases",
        release="`s3://BUCKET/PREFIX/NAME/v1.4.0/`",
        address=r"s3://[a-z0-9][a-z0-9.-]+(/[^?#]*)?(\?endpoint=https?://[^&#]+)?",
        extra="s3",
        access="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or whatever else AWS tools accept, of somebody who may write there.",
        credentials=(
            Credential(
                "AWS_ACCESS_KEY_ID", "aws-access-key-id", "For an S3 store that the contract publishes to."
            ),
            Credential("AWS_SECRET_ACCESS_KEY", "aws-secret-access-key", "Its secret."),
        ),
    ),
    Store(
        kind="oci",
        publisher="OciPublisher",
        meaning="A repository of an OCI registry: `HOST/PATH`; each release is an artefact tagged with its version.",
        example="ghcr.io/team/digits",
        release="`HOST/PATH:v1.4.0`",
        address=r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+",
        extra="oci",
        access="Set GRADATIM_OCI_USERNAME and GRADATIM_OCI_PASSWORD, or log in with: docker login HOST",
        credentials=(
            Credential(
                "GRADATIM_OCI_USERNAME", "oci-username", "For an OCI registry that the contract publishes to."
            ),
            Credential("GRADATIM_OCI_PASSWORD", "oci-password", "Its password or token."),
        ),
    ),
    Store(
        kind="github",
        publisher="GitHubPublisher",
        meaning="Releases of a GitHub repository: `OWNER/NAME` or its address; the git remote's when left out.",
        example="ada/digits",
        release="the release of the tag, one asset a file",
        address=_PROJECT,
        extra="github",
        access="Set GITHUB_TOKEN (or GH_TOKEN) to one that may write the repository's contents (in a workflow: "
        "`permissions: contents: write`).",
        of_the_remote=True,
    ),
    Store(
        kind="gitlab",
        publisher="GitLabPublisher",
        meaning="Releases of a GitLab project, files in its package registry: `GROUP/NAME` or its address; the git remote's "
        "when left out.",
        example="models/digits",
        release="the release of the tag, one link a file",
        address=_PROJECT,
        extra="gitlab",
        access="Set GITLAB_TOKEN to one with the scope `api`; in a job of the project GitLab itself sets CI_JOB_TOKEN.",
        of_the_remote=True,
    ),
    Store(
        kind="huggingface",
        publisher="HuggingFacePublisher",
        meaning="A model repository of the Hugging Face Hub that exists: `OWNER/NAME` or its address; each release is one "
        "commit with the tag of its version.",
        example="team/digits",
        release="the commit of the tag, `OWNER/NAME@v1.4.0`",
        address=rf"({_SERVER}/)?[\w.-]+/[\w.-]+",
        extra="huggingface",
        access="The repository must exist, and HF_TOKEN, else the token that `hf auth login` left, must be allowed to write to it.",
        credentials=(
            Credential(
                "HF_TOKEN",
                "huggingface-token",
                "For the Hugging Face Hub, if the contract publishes to it; one that may write.",
            ),
        ),
    ),
    Store(
        kind="mlflow",
        publisher="MlflowPublisher",
        meaning="An MLflow server; each release is a version of the registered model of its name, and the stage an alias.",
        example="https://mlflow.example.org",
        release="the version of the registered model with the tag `gradatim.version: v1.4.0`",
        address=rf"{_SERVER}(/[\w.-]+)*/?",
        extra="mlflow",
        access="Where the server asks, set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, of "
        "somebody who may write there.",
        credentials=(
            Credential(
                "MLFLOW_TRACKING_TOKEN",
                "mlflow-token",
                "For an MLflow server that the contract publishes to.",
            ),
            Credential("MLFLOW_TRACKING_USERNAME", "mlflow-username", "For one with users instead."),
            Credential("MLFLOW_TRACKING_PASSWORD", "mlflow-password", "Its password."),
        ),
    ),
)

STORES: Mapping[str, Store] = {row.kind: row for row in _ROWS}
"""Every kind by its name, in the order in which they are shown."""
