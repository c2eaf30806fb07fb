"""A hundred races of two publishers, each a process with a clone of its own, on one bare remote and one folder.

    python -m pytest tests/bench/test_publish_races.py -s

Each time both publish the same version with bytes of their own at the same moment. One wins; the other says who was
faster and keeps no tag, no evidence and no draft. The unit tests do the same six times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from registry_examples import IDENTITY, clone, git, new_repository

from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER

RACES = 100
WORKER = """
import json, sys
from pathlib import Path
from registry_examples import release_files
from gradatim.errors import GradatimError
from gradatim.publishers.folder import FolderPublisher
from gradatim.releasing.publishing import publish
from gradatim.registry.git import Repository

place = Path(sys.argv[1])
for line in sys.stdin:
    version = line.strip()
    release = release_files(place, version, f"{place.name} {version}".encode())
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        publish(Repository.find(place), release, [FolderPublisher(Path("../releases"), root=place)])
        said = "won"
    except GradatimError as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps(said), flush=True)
"""


@pytest.mark.timeout(1800)
def test_a_hundred_races_have_a_hundred_winners_and_the_losers_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "unit"), prepend=":")
    first = new_repository(tmp_path / "first", remote=tmp_path / "remote.git")
    places = (first, clone(tmp_path / "remote.git", tmp_path / "second"))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in places
    ]
    winners: Counter[str] = Counter()
    losses: Counter[str] = Counter()

    def tell(line: str) -> list[str]:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{line}\n")
            worker.stdin.flush()
        return [worker.stdout.readline().strip() for worker in workers if worker.stdout is not None]

    for number in range(RACES):
        version = f"v1.{number}.0"
        assert tell(version) == ["ready", "ready"]
        said = [json.loads(line) for line in tell("go")]
        assert sorted(line == "won" for line in said) == [False, True], said
        winners[places[said.index("won")].name] += 1
        lost = next(line for line in said if line != "won")
        assert "released already" in lost or "with other bytes" in lost, lost
        losses[lost.partition(":")[0]] += 1
        there = Repository.find(first).remote_refs("origin", "refs/tags/*", f"{LEDGER}*")
        assert sum(ref == f"refs/tags/{version}" for ref in there) == 1
        for place in places:
            tags, ledgers = (Repository.find(place).local_refs(prefix) for prefix in ("refs/tags", LEDGER))
            assert all(there[ref].id == mine for ref, mine in tags.items()), "a stale tag"
            assert ledgers.keys() <= there.keys(), "evidence of the loser"
        assert sorted(p.name for p in (tmp_path / "releases").iterdir()) == sorted(
            f"v1.{n}.0" for n in range(number + 1)
        ), "a draft was left"
    for worker in workers:
        worker.communicate()
    tags = git(first, "ls-remote", "--tags", "--refs", "origin").splitlines()
    assert len(tags) == 2 * RACES
    with capsys.disabled():
        print(
            f"\n{RACES} races: won by {dict(winners)}; the other stopped by {dict(losses)}; nothing left behind"
        )
