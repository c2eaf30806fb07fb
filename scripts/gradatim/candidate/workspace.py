"""``.gradatim/``: where steps leave models, predictions and evidence for one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import BrokenEvidence
from gradatim.evidence.statement import Statement
from gradatim.files import cannot_write, sha256_file, write_bytes, write_text
from gradatim.shard import Shard

if TYPE_CHECKING:
    from gradatim.metrics.predictions import Predictions

FOLDER = ".gradatim"


class Workspace:
    """The folder beside the contract that holds everything a release makes before it is published.

    Attributes:
        folder: its absolute path.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    def prepare(self) -> None:
        """Make the folder, invisible to git.

        Raises:
            EnvironmentLacks: it cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_text(ignore, "# Made by gradatim; nothing here is committed.\n*\n")

    def model_folder(self, variant: str) -> Path:
        """Where the files of a variant lie."""
        return self.folder / "models" / variant

    def predictions_folder(self, variant: str) -> Path:
        """Where the predictions of a variant (or of the baseline) lie."""
        return self.folder / "predictions" / variant

    def shards_folder(self, step: str) -> Path:
        """Where the jobs that share a step leave their parts."""
        return self.folder / "shards" / step

    def shard_folder(self, step: str, shard: Shard) -> Path:
        """Where one of them leaves its part."""
        return self.shards_folder(step) / shard.folder

    def evidence_path(self, step: str) -> Path:
        """Where the evidence of a step lies."""
        return self.folder / "evidence" / f"{step}.json"

    def statement(self, step: str) -> Statement | None:
        """The evidence of a step; None when there is none.

        Raises:
            BrokenEvidence: the file is not a whole statement of this step.
        """
        path = self.evidence_path(step)
        if not path.exists():
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BrokenEvidence(f"{path} cannot be read: {error.strerror}.") from error
        statement = Statement.from_bytes(data, str(path))
        if statement.step != step:
            raise BrokenEvidence(
                f"{path} is the evidence of `{statement.step}`, not of `{step}`. Run the step again."
            )
        return statement

    def evidence(self, step: str) -> Statement:
        """The evidence of a step.

        Raises:
            BrokenEvidence: there is none, or it is broken.
        """
        statement = self.statement(step)
        if statement is None:
            raise BrokenEvidence(f"There is no evidence of `{step}` in {self.folder}. Run: gradatim {step}")
        return statement

    def predictions(self, variant: str) -> Predictions:
        """The predictions that evaluate left of a variant or of the baseline."""
        from gradatim.metrics.predictions import Predictions

        return Predictions.load(self.predictions_folder(variant))

    def save(self, statement: Statement) -> None:
        """Write the evidence of a step."""
        write_bytes(self.evidence_path(statement.step), statement.to_bytes())

    def forget(self, step: str) -> None:
        """Drop the evidence of a step that is about to run: a crash then leaves none, never an old one."""
        path = self.evidence_path(step)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error

    def digests(self, paths: Iterable[Path]) -> dict[str, str]:
        """Hex SHA-256 of files in the workspace, by path relative to it."""
        return {path.relative_to(self.folder).as_posix(): sha256_file(path) for path in sorted(paths)}

    def untouched(self, outputs: Mapping[str, str]) -> bool:
        """Whether every file that a step left is still there with the same bytes."""
        return all(
            (self.folder / name).is_file() and sha256_file(self.folder / name) == digest
            for name, digest in outputs.items()
        )
