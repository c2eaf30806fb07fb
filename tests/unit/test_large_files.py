"""Large files: hashed as fast as sha256sum, in little memory, with a sign of life and not more of it than helps."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradatim import progress
from gradatim.errors import InvalidInput
from gradatim.evidence.assembly import ReleaseFiles, assemble
from gradatim.evidence.manifest import FileEntry, Manifest, hash_files
from gradatim.evidence.statement import Bundle, Statement
from gradatim.files import counting, moved
from gradatim.gates.verdict import Verdict
from gradatim.publishers.transfer import is_entry

MB = 1 << 20


class Seen:
    """A place to report to that writes down what it is told."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int | None]] = []
        self.told: list[int] = []

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[progress.Advance]:
        self.tasks.append((name, total))
        yield lambda amount=1, note="": self.told.append(amount)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    monkeypatch.setattr(progress, "_shown_on", found)
    monkeypatch.setattr(progress, "_WORTH_SHOWING", 8 * MB)
    return found


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def cpu_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def test_many_files_are_hashed_side_by_side_and_told_in_their_order(tmp_path: Path) -> None:
    paths = []
    for number, size in enumerate((3, 0, 2 * MB + 1, 70)):
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(bytes([number]) * size)
    found = hash_files(paths)
    assert list(found) == paths
    assert all(found[p] == (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths)
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        hash_files([*paths, tmp_path / "gone"])


def test_a_large_file_shows_its_bytes_and_a_small_one_nothing(tmp_path: Path, seen: Seen) -> None:
    hash_files([sparse(tmp_path / "small", 7 * MB)])
    assert seen.tasks == []
    hash_files([sparse(tmp_path / "large", 24 * MB), sparse(tmp_path / "other", 8 * MB)])
    assert seen.tasks == [("hash", 32 * MB)]
    assert sum(seen.told) == 32 * MB
    assert len(seen.told) < 32, "a few updates a second, not one for each piece"


def test_downloads_are_counted_while_they_are_compared(seen: Seen) -> None:
    data = bytes(MB)
    entry = FileEntry("weights.bin", 9 * MB, hashlib.sha256(data * 9).hexdigest())
    assert is_entry((data for _ in range(9)), entry)
    assert (seen.tasks, sum(seen.told)) == ([("compare weights.bin", 9 * MB)], 9 * MB)


def test_updates_are_rare_however_fast_the_bytes_go_by(seen: Seen) -> None:
    began = time.monotonic()
    with progress.large("hash", 10 * MB):
        threads = [threading.Thread(target=lambda: [moved(1) for _ in range(20_000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(seen.told) == 80_000
    assert len(seen.told) <= 2 + (time.monotonic() - began) / 0.3


def test_nothing_is_drawn_where_nobody_looks(
    tmp_path: Path, seen: Seen, capfd: pytest.CaptureFixture[str]
) -> None:
    large = sparse(tmp_path / "large", 9 * MB)
    told: list[int] = []
    with progress.unseen(), counting(told.append):
        hash_files([large])
    assert (sum(told), seen.tasks) == (9 * MB, [])
    assert capfd.readouterr() == ("", "")


def test_a_bar_within_a_bar_is_a_second_bar(capfd: pytest.CaptureFixture[str]) -> None:
    bar = progress.Bar()
    with bar.task("publish", 2) as outer, bar.task("upload", 10) as inner:
        inner(10)
        outer(1)
    with bar.task("again", 1) as advance:
        advance()


def test_one_file_is_hashed_at_the_speed_of_sha256sum(tmp_path: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not here")
    path = tmp_path / "file"
    path.write_bytes(b"\x5a" * (24 * MB))
    ratios = []
    for _ in range(3):  # side by side, so that a busy machine slows both
        before = cpu_seconds(resource.RUSAGE_CHILDREN)
        subprocess.run(["sha256sum", str(path)], check=True, capture_output=True)
        theirs, before = cpu_seconds(resource.RUSAGE_CHILDREN) - before, cpu_seconds(resource.RUSAGE_SELF)
        hash_files([path])
        ratios.append(theirs / (cpu_seconds(resource.RUSAGE_SELF) - before))
    assert max(ratios) >= 0.9, ratios


def release_of(folder: Path, size: int, *, noise: bool = False) -> Path:
    """A published folder whose one file is large: a hole, or noise."""
    weights = sparse(folder / "weights.bin", size)
    if noise:
        with weights.open("r+b") as file:
            for _ in range(size // MB):
                file.write(os.urandom(MB))
    manifest = Manifest.of("large", folder, [weights])
    evidence = Bundle((Statement("gate", {"original": manifest.digest}, Verdict.PASS, "0.1.0"),))
    release: ReleaseFiles = assemble(
        manifest, folder, evidence, tag="v1.0.0", version="v1.0.0", stage=None, variant="original",
        commit="0" * 40, previous=None,
    )  # fmt: skip
    for path, source in release.sources.items():
        if isinstance(source, bytes):
            (folder / path).write_bytes(source)
    return folder


VERIFY = """
import re, sys
from gradatim.cli import main
try:
    sys.argv = ["gradatim", "verify", "--self-consistent", sys.argv[1]]
    main()
except SystemExit as done:
    assert not done.code, done.code
print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def peak_megabytes(folder: Path) -> float:
    """The largest resident set of a process that verifies a published folder."""
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        check=False,
    )
    assert "is self-consistent, origin not proven" in done.stdout, done.stdout + done.stderr
    return int(done.stdout.rpartition("peak ")[2]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_verifying_takes_as_little_memory_however_large_the_file(tmp_path: Path) -> None:
    place = tmp_path / "v1.0.0"
    place.mkdir()
    assert peak_megabytes(release_of(place, 192 * MB)) < 100
