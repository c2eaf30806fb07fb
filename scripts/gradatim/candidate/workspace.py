"""``.gradatim/``: where steps leave models, predictions and evidence for one another."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import BrokenEvidence
from gradatim.evidence.release_record import BOM_FILE, CARD_FILE, GOLDEN_FILE, REPORT_FILE, SCORE_FILE
from gradatim.evidence.statement import Statement
from gradatim.files import cannot_write, read_json, refuse_link, sha256_file, write_bytes, write_text, writing
from gradatim.shard import Shard

if TYPE_CHECKING:
    from gradatim.metrics.predictions import Predictions
    from gradatim.timing.result import PairedResult

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
            BrokenEvidence: it is a link, and what is written would land elsewhere.
        """
        refuse_link(self.folder)
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_text(ignore, "# Made by gradatim; nothing here is committed.\n*\n")

    @property
    def lock(self) -> Path:
        """The file that a walk locks, so that no other works here."""
        return self.folder / ".lock"

    @property
    def selftest(self) -> Path:
        """What this machine's own timings said of it."""
        return self.folder / "selftest.json"

    @property
    def build_log(self) -> Path:
        """What the build command printed."""
        return self.folder / "build.log"

    def test_log(self, variant: str) -> Path:
        """What the user's own tests of a variant printed."""
        return self.folder / f"test-{variant}.log"

    def logs(self, step: str) -> list[Path]:
        """What the team's own programs printed, where a step kept it."""
        return sorted((*self.folder.glob(f"{step}.log"), *self.folder.glob(f"{step}-*.log")))

    @property
    def models(self) -> Path:
        """Where compress leaves a folder for each form, and what it tried."""
        return self.folder / "models"

    @property
    def unpinned(self) -> Path:
        """What stands for a model of which no more is known than where it is asked."""
        return self.models / "unpinned" / "endpoint.json"

    def model_folder(self, variant: str) -> Path:
        """Where the files of a variant lie."""
        return self.models / variant

    def retrieved(self, manifest: str) -> Path:
        """Where the model of a release is fetched to, by its hex manifest digest."""
        return self.folder / "retrieved" / manifest[:16]

    def alone(self, project: Path, files: Iterable[Path]) -> Path:
        """The folder that holds these files of a project as they are now, and nothing else of it.

        Links that share the bytes where the file system has them, for weights may be large.

        Raises:
            EnvironmentLacks: it cannot be written.
        """
        self.prepare()
        folder = self.models / "alone"
        wanted = {folder / file.relative_to(project): file for file in files}
        with writing(folder):
            for path in folder.rglob("*"):
                ours = (
                    path.parent.name == "__pycache__" or path.suffix == ".part"
                )  # of a step beside this one
                if path.is_file() and path not in wanted and not ours:
                    path.unlink(missing_ok=True)
            for place, file in wanted.items():
                if place.exists() and place.samefile(file):
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                temporary = place.with_name(f".{place.name}.{os.getpid()}.part")
                try:
                    os.link(file, temporary)
                except OSError:  # another device, or a file system without links
                    shutil.copy2(file, temporary)
                temporary.replace(place)
        return folder

    def predictions_folder(self, variant: str) -> Path:
        """Where the predictions of a variant (or of the baseline) lie."""
        return self.folder / "predictions" / variant

    def scores(self, variant: str) -> Path:
        """What a variant (or the baseline) scored under corruption."""
        return self.folder / "predictions" / "robustness" / f"{variant}.npz"

    @property
    def golden(self) -> Path:
        """The golden cases that the candidate leaves for later releases."""
        return self.folder / GOLDEN_FILE

    def golden_of(self, version: str) -> Path:
        """The golden cases of an earlier release."""
        return self.folder / "golden" / f"{version}.npz"

    @property
    def test_results(self) -> Path:
        """Every check, as CI systems show test results."""
        return self.folder / "junit" / "test.xml"

    @property
    def gate_results(self) -> Path:
        """Every gate, as CI systems show test results."""
        return self.folder / "junit" / "gates.xml"

    @property
    def metrics(self) -> Path:
        """What was measured, as CI systems compare it with the target branch's."""
        return self.folder / "metrics.txt"

    @property
    def benchmark(self) -> Path:
        """What the benchmark found."""
        return self.folder / "benchmark.json"

    @property
    def report(self) -> Path:
        """The report for people, one page."""
        return self.folder / REPORT_FILE

    @property
    def held_report(self) -> Path:
        """The one that a release carries which this run put somewhere."""
        return self.folder / f"held-{REPORT_FILE}"

    @property
    def report_data(self) -> Path:
        """The same as data."""
        return self.folder / "report.json"

    @property
    def report_summary(self) -> Path:
        """The same in short, for a pull request."""
        return self.folder / "summary.md"

    def document(self, name: str) -> Path:
        """What a release says of itself, by its name there: model card, bill of materials, score for the Hub."""
        return self.folder / name

    @property
    def beside_the_model(self) -> dict[str, Path]:
        """What a release carries besides the model and its evidence, as far as it is there, by its name there."""
        names = (REPORT_FILE, GOLDEN_FILE, CARD_FILE, BOM_FILE, SCORE_FILE)
        return {name: path for name in names if (path := self.document(name)).exists()}

    def shards_folder(self, step: str) -> Path:
        """Where the jobs that share a step leave their parts."""
        return self.folder / "shards" / step

    def shard_folder(self, step: str, shard: Shard) -> Path:
        """Where one of them leaves its part."""
        return self.shards_folder(step) / shard.folder

    @property
    def has_evidence(self) -> bool:
        """Whether any step left some."""
        return (self.folder / "evidence").is_dir()

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
        try:
            statement = Statement.from_bytes(data, str(path))
        except BrokenEvidence as error:
            raise BrokenEvidence(f"{error} Run: gradatim {step}") from error
        if statement.step != step:
            raise BrokenEvidence(
                f"{path} is the evidence of `{statement.step}`, not of `{step}`. Run: gradatim {step}"
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

    def timings(self) -> PairedResult | None:
        """What the benchmark left; None when it left nothing.

        Raises:
            BrokenEvidence: it is not that.
        """
        path = self.benchmark
        if not path.exists():
            return None
        at = path.stat()
        return _timings(path, at.st_ino, at.st_mtime_ns)

    def profile(self, variant: str) -> Path:
        """What the profiler saw of a form, where somebody asked; the whole trace lies beside it."""
        return self.folder / "profile" / f"{variant}.json"

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

    def paths(self, names: Iterable[str]) -> list[Path]:
        """Files of the workspace by their paths relative to it."""
        return [self.folder / name for name in names]

    def untouched(self, outputs: Mapping[str, str]) -> bool:
        """Whether every file that a step left is still there with the same bytes."""
        return all(
            (self.folder / name).is_file() and sha256_file(self.folder / name) == digest
            for name, digest in outputs.items()
        )


@functools.lru_cache(maxsize=1)
def _timings(path: Path, _inode: int, _written: int) -> PairedResult:
    """What the benchmark left, read once as long as the file stays what it is: gate and report ask for it, form by form."""
    from gradatim.timing.result import PairedResult

    return PairedResult.from_json(read_json(path), str(path))
