"""The rules that `gradatim protect` sets, acted out by the hooks of a real git remote: a ladder can be climbed for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gradatim.ci.github_settings import settings_of
from gradatim.contract.schema import Contract

CONTRACT = Contract.model_validate(
    {
        "model": {"name": "digits", "path": "m.onnx"},
        "stages": {
            "alpha": {"branch": "develop"},
            "beta": {"branch": "staging"},
            "production": {"branch": "main"},
        },
    }
)

HOOK = """#!{python}
import fnmatch, json, subprocess, sys
from pathlib import Path


def git(*arguments):
    return subprocess.run(["git", *arguments], capture_output=True, text=True)


def holds(rule, ref, old, new):
    created, deleted = not old.strip("0"), not new.strip("0")
    behind = not created and git("merge-base", "--is-ancestor", old, new).returncode != 0
    kind = rule["type"]
    if kind == "deletion":
        return not deleted
    if kind == "update":
        return created or deleted
    if kind == "non_fast_forward":
        return deleted or not behind
    if kind == "creation":
        return not created
    parents = git("rev-list", "--parents", "-n", "1", new).stdout.split()[1:]
    if created:
        return True
    if kind == "pull_request":  # merged with a commit of its own, on top of what is there
        return len(parents) == 2 and parents[0] == old
    strict = rule["parameters"]["strict_required_status_checks_policy"]
    return not strict or git("merge-base", "--is-ancestor", old, parents[-1]).returncode == 0


for line in sys.stdin:
    old, new, ref = line.split()
    for ruleset in json.loads(Path({rules!r}).read_text()):
        if any(fnmatch.fnmatch(ref, pattern) for pattern in ruleset["conditions"]["ref_name"]["include"]):
            for rule in ruleset["rules"]:
                if not holds(rule, ref, old, new):
                    sys.exit(f"{{ref}}: refused by the rule {{rule['type']}} of {{ruleset['name']}}")
"""


class Ladder:
    """A clone, and a remote whose hook is the rulesets."""

    def __init__(self, home: Path) -> None:
        self.clone = home / "clone"
        remote, rules = home / "remote.git", home / "rules.json"
        subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", str(self.clone)], check=True)
        self.git("remote", "add", "origin", str(remote))
        self.git("commit", "--allow-empty", "-qm", "first")
        for branch in ("develop", "staging", "main"):
            self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        rules.write_text(json.dumps([ruleset.body for ruleset in settings_of(CONTRACT).rulesets]))
        hook = remote / "hooks" / "pre-receive"
        hook.write_text(HOOK.format(python=sys.executable, rules=str(rules)))
        hook.chmod(0o755)

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(
            ["git", "-C", str(self.clone), *who, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def merge(self, head: str, base: str) -> None:
        """What the button of a pull request does."""
        self.git("fetch", "-q", "origin")
        self.git("checkout", "-q", "--detach", f"origin/{base}")
        self.git("merge", "-q", "--no-ff", "-m", f"{head} into {base}", head)
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{base}")


def test_ten_releases_climb_the_ladder_by_pull_requests_alone(tmp_path: Path) -> None:
    ladder = Ladder(tmp_path)
    for number in range(10):
        ladder.git("fetch", "-q", "origin")
        ladder.git("checkout", "-q", "-B", f"feature-{number}", "origin/develop")
        ladder.git("commit", "--allow-empty", "-qm", f"better {number}")
        ladder.merge(f"feature-{number}", "develop")
        ladder.merge("origin/develop", "staging")
        ladder.merge("origin/staging", "main")
        ladder.git("tag", "-a", f"v1.{number}.0", "-m", "released")
        ladder.git("push", "-q", "origin", f"v1.{number}.0")
    assert len(ladder.git("ls-remote", "--tags", "--refs", "origin").splitlines()) == 10


def test_the_rules_still_refuse_what_would_make_a_release_mean_nothing(tmp_path: Path) -> None:
    ladder = Ladder(tmp_path)
    ladder.git("checkout", "-q", "-B", "old", "origin/develop")
    ladder.git("commit", "--allow-empty", "-qm", "on what develop was")
    ladder.git("checkout", "-q", "-B", "new", "origin/develop")
    ladder.git("commit", "--allow-empty", "-qm", "better")
    ladder.merge("new", "develop")
    for refused in (
        lambda: ladder.merge("old", "develop"),  # was never checked together with what is there
        lambda: ladder.git("push", "-q", "origin", "new:refs/heads/main"),
        lambda: ladder.git("push", "-q", "origin", ":refs/heads/staging"),
    ):
        with pytest.raises(AssertionError, match="refused by the rule"):
            refused()
    ladder.git("tag", "-a", "v1.0.0", "-m", "released", "new")
    ladder.git("push", "-q", "origin", "v1.0.0")
    with pytest.raises(AssertionError, match="refused by the rule update"):
        ladder.git("push", "-q", "--force", "origin", "old:refs/tags/v1.0.0")
