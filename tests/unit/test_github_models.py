"""Several models in one repository: each event of GitHub reaches those that it touches, and all where nobody can tell."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from registry_examples import git

from gradatim.ci.contracts import find_contracts, refuse_clashes
from gradatim.ci.touched import Touched, touched
from gradatim.cli import cli
from gradatim.errors import ContractError, UsageError
from gradatim.files import sha256_file
from gradatim.registry.git import Repository
from gradatim.rendering.workflows import CALLER

NASTY = "x'\";touch pwned;$(touch pwned)`touch pwned`\n::error::${{ github.token }}"
CONTRACT = """model: {{name: {name}, path: model/m.onnx, build: python train.py}}
data: {{evaluation: {data}, preprocess: "features:prepare"}}
task: classification
test: {{pytest: checks}}
stages: {{beta: {{branch: staging}}, production: {{branch: main}}}}
registry: {{tags: named}}
"""


def write(path: Path, text: str = "1") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def commit(top: Path, *paths: str) -> str:
    """Change files and commit them; returns the commit."""
    for path in paths:
        file = top / path
        write(file, (file.read_text(encoding="utf-8") if file.exists() else "") + "# more\n")
    git(top, "add", "-A")
    git(top, "commit", "-q", "--allow-empty", "-m", "a change")
    return git(top, "rev-parse", "HEAD")


def identity(path: Path) -> None:
    """A model that gives back what it takes."""
    onnx = pytest.importorskip("onnx")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "identity", ends[:1], ends[1:])
    path.parent.mkdir(parents=True)
    onnx.save(onnx.helper.make_model(graph), path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two models; `b` is judged on data outside of its folder, and its tests share a module with nobody."""
    top = tmp_path / "models of ours"
    for name, data in (("a", "test.csv"), ("b", "../../shared data/test.csv")):
        folder = top / "models" / name
        write(folder / "gradatim.yml", CONTRACT.format(name=name, data=data))
        write(folder / "train.py", "import layers\n")
        write(folder / "layers.py", "")
        write(folder / "features.py", "def prepare(batch): return batch\n")
        write(folder / "checks/test_model.py", "def test(model): pass\n")
        write(folder / "README.md", "What it is.\n")
    write(top / "models/a/test.csv", "x,label\n1,0\n")
    write(top / "shared data/test.csv", "x,label\n1,0\n")
    write(top / "requirements.txt", "numpy\n")
    git(tmp_path, "init", "-q", "-b", "main", str(top))
    commit(top)
    return top


def ask(top: Path, name: str, event: dict[str, Any], tag: str | None = None) -> list[Touched]:
    found = Repository.find(top)
    return touched(found, find_contracts(found), name, event, tag)


def names(found: list[Touched]) -> str:
    return "".join(one.entry.name for one in found)


def push(top: Path, before: str, **more: Any) -> list[Touched]:
    return ask(top, "push", {"before": before, "after": git(top, "rev-parse", "HEAD"), **more})


@pytest.mark.parametrize(
    ("paths", "models"),
    [
        (["models/a/gradatim.yml"], "a"),
        (["models/a/layers.py"], "a"),
        (["models/b/train.py", "models/a/test.csv"], "ab"),
        (["models/b/checks/test_model.py"], "b"),
        (["models/b/notes.txt"], "b"),
        (["shared data/test.csv"], "ab"),
        (["requirements.txt"], "ab"),
        ([".github/workflows/release.yml"], "ab"),
        (["README.md", "models/a/README.md", "LICENSE", "docs/CHANGELOG.md"], ""),
        (["models/a/readme.py"], "a"),
        ([], ""),
        (["models/a/${{ x }};$(touch pwned)\n`touch pwned`'\".py"], "a"),
    ],
)
def test_a_push_touches_the_models_whose_files_changed(
    repository: Path, paths: list[str], models: str
) -> None:
    before = git(repository, "rev-parse", "HEAD")
    commit(repository, *paths)
    assert names(push(repository, before)) == models
    assert not list(repository.rglob("pwned"))


def test_what_a_contract_names_in_another_models_folder_touches_both(repository: Path) -> None:
    contract = repository / "models/b/gradatim.yml"
    contract.write_text(contract.read_text().replace("../../shared data/test.csv", "../a/test.csv"))
    before = commit(repository)
    commit(repository, "models/a/test.csv")
    assert names(push(repository, before)) == "ab"
    before = commit(repository)
    commit(repository, "models/a/test.csv.dvc")
    assert names(push(repository, before)) == "ab", "what stands for it in git"
    (repository / "models/b/data").symlink_to("../a")
    contract.write_text(contract.read_text().replace("../a/test.csv", "data/test.csv"))
    before = commit(repository)
    commit(repository, "models/a/test.csv")
    assert names(push(repository, before)) == "ab", "a link is followed"


def test_a_file_that_is_gone_or_moved_counts_as_changed(repository: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    git(repository, "mv", "models/a/layers.py", "models/b/more.py")
    commit(repository)
    assert names(push(repository, before)) == "ab"


def test_a_file_of_a_contract_at_the_top_touches_every_model_below_it(repository: Path) -> None:
    write(repository / "gradatim.yml", "model: {name: top, path: m.onnx}\nregistry: {tags: named}\n")
    write(repository / "m.onnx")
    before = commit(repository)
    commit(repository, "models/a/train.py")
    assert names(push(repository, before)) == "a"
    before = commit(repository)
    commit(repository, "m.onnx")
    assert sorted(one.entry.name for one in push(repository, before)) == ["a", "b", "top"]


def test_what_cannot_be_told_touches_all(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    last = commit(repository, "models/a/train.py")
    assert names(push(repository, "0" * 40, created=True)) == "ab", "a new branch"
    assert names(push(repository, first, forced=True)) == "ab", "a forced push"
    assert names(push(repository, "f" * 40)) == "ab", "a commit that is not here"
    assert names(ask(repository, "push", {})) == "ab", "an event that says nothing"
    git(repository, "checkout", "-q", "--orphan", "other", first)
    commit(repository)
    assert names(push(repository, last)) == "ab", "another history"
    git(repository, "checkout", "-q", "main")
    write(repository / "models/b/gradatim.yml", "model: {name: b\n")
    before = commit(repository)
    commit(repository, "models/a/train.py")
    assert names(push(repository, before)) == "ab", "a contract that cannot be read"
    git(repository, "checkout", "-q", "HEAD~2", "--", "models/b/gradatim.yml")
    (repository / "models/b/features.py").unlink()
    before = commit(repository)
    commit(repository, "models/a/train.py")
    assert names(push(repository, before)) == "ab", "code that a contract names is not there"


def test_a_shallow_clone_touches_all(repository: Path, tmp_path: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    commit(repository, "models/a/train.py")
    git(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), str(tmp_path / "shallow"))
    assert names(push(tmp_path / "shallow", before)) == "ab"


def test_a_pull_request_touches_what_it_changed_since_it_left_its_base(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "topic")
    head = commit(repository, "models/a/train.py")
    git(repository, "checkout", "-q", "main")
    base = commit(repository, "models/b/train.py")
    event = {"pull_request": {"base": {"sha": base}, "head": {"sha": head}, "title": NASTY, "body": NASTY}}
    assert names(ask(repository, "pull_request", event)) == "a"
    group = {"merge_group": {"base_sha": base, "head_sha": head, "head_ref": NASTY}}
    assert names(ask(repository, "merge_group", group)) == "a"
    event["pull_request"]["base"] = {"sha": NASTY}
    assert names(ask(repository, "pull_request", event)) == "ab"
    assert names(ask(repository, "pull_request", {})) == "ab"


@pytest.mark.parametrize(
    ("tag", "models"),
    [
        ("a@v1.0.0", "a"),
        ("b@v1.0.0-beta.2", "b"),
        ("v1.0.0", ""),
        ("c@v1.0.0", ""),
        ("a#production#3", ""),
        ("a@v1.0.0!", ""),
        ("nightly", ""),
        ("$(touch pwned)", ""),
    ],
)
def test_a_tag_is_one_models(repository: Path, tag: str, models: str) -> None:
    assert names(ask(repository, "push", {"before": "0" * 40, "created": True}, tag)) == models
    assert names(ask(repository, "push", {"deleted": True}, tag)) == ""


def test_a_tag_of_no_readable_model_goes_to_the_contracts_that_cannot_be_read(repository: Path) -> None:
    write(repository / "models/b/gradatim.yml", "model: {name: b\n")
    assert names(ask(repository, "push", {}, "b@v1.0.0")) == "b"
    assert names(ask(repository, "push", {}, "a@v1.0.0")) == "a"


def test_a_schedule_is_for_all_and_a_dispatch_for_the_one_that_is_chosen(repository: Path) -> None:
    assert names(ask(repository, "schedule", {"schedule": "17 5 * * 1"})) == "ab"
    assert names(ask(repository, "workflow_dispatch", {"inputs": {"model": "b"}})) == "b"
    assert names(ask(repository, "workflow_dispatch", {"inputs": {"model": "models/a/gradatim.yml"}})) == "a"
    for inputs in ({}, {"model": "c"}, {"model": NASTY}, None):
        with pytest.raises(UsageError, match="Known: a, b"):
            ask(repository, "workflow_dispatch", {"inputs": inputs})


def test_a_contract_that_was_published_with_a_release_is_no_model_of_the_repository(repository: Path) -> None:
    """As it lies in the folder that `init` proposes, which nothing tells git to ignore."""
    released = repository / "models/a/releases/v1.0.0"
    write(released / "gradatim.yml", (repository / "models/a/gradatim.yml").read_text(encoding="utf-8"))
    listed = {"path": "gradatim.yml", "sha256": sha256_file(released / "gradatim.yml")}
    write(released / "release.json", json.dumps({"schema": "urn:gradatim:release:v1", "files": [listed]}))
    found = find_contracts(Repository.find(repository))
    assert [str(entry.path) for entry in found] == ["models/a/gradatim.yml", "models/b/gradatim.yml"]
    refuse_clashes(found)


@pytest.mark.parametrize(
    "text",
    [
        "{}", "[1]", "not json", '{"name": "a", "version": "1.0"}', '{"files": [{"path": "gradatim.yml", "sha256": "00"}]}',
        '{"schema": "urn:gradatim:release:v1", "files": [null, {}, {"path": "gradatim.yml"}]}', '{"files": 3}', "[" * 100000,
    ],
    ids=["empty", "list", "text", "names", "other bytes", "broken", "number", "deep"],
)  # fmt: skip
def test_a_file_of_somebody_else_that_is_called_like_a_records_takes_no_model_out_of_its_checks(
    repository: Path, text: str
) -> None:
    write(repository / "models/a/release.json", text)
    found = find_contracts(Repository.find(repository))
    assert [str(entry.path) for entry in found] == ["models/a/gradatim.yml", "models/b/gradatim.yml"]


def test_models_whose_tags_could_be_taken_for_one_another_are_refused_at_their_line(repository: Path) -> None:
    found = Repository.find(repository)
    refuse_clashes(find_contracts(found))
    write(
        repository / "models/b/gradatim.yml", "model:\n  name: a\n  path: m.onnx\nregistry: {tags: named}\n"
    )
    with pytest.raises(
        ContractError, match=r"models/b/gradatim.yml:2:.*another contract, models/a/gradatim.yml"
    ):
        refuse_clashes(find_contracts(found))
    write(repository / "models/b/gradatim.yml", "model: {name: b, path: m.onnx}\n")
    with pytest.raises(ContractError, match="tags must bear their names"):
        refuse_clashes(find_contracts(found))


@pytest.fixture
def runner(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of GitHub Actions on the repository: call it with an event, and read what the job said."""

    def run(name: str, event: dict[str, Any], *arguments: str, **variables: str) -> dict[str, str]:
        for known in [known for known in os.environ if known.startswith("GITHUB_")]:
            monkeypatch.delenv(known)
        for file in ("output", "summary"):
            (tmp_path / file).unlink(missing_ok=True)
        (tmp_path / "event.json").write_text(json.dumps(event), encoding="utf-8")
        said = {
            "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), **variables,
        }  # fmt: skip
        for key, value in said.items():
            monkeypatch.setenv(key, value)
        monkeypatch.chdir(repository)
        verb = () if arguments[:1] == ("held",) else ("models",)
        done = CliRunner().invoke(cli, ["ci", *verb, *arguments], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        lines = (tmp_path / "output").read_text(encoding="utf-8").splitlines()
        outputs = {key.split("<<")[0]: value for key, value in zip(lines[::3], lines[1::3], strict=True)}
        return {**outputs, "summary": (tmp_path / "summary").read_text(encoding="utf-8"), "said": done.output}

    return run


def test_the_plan_is_a_matrix_that_no_name_can_break_out_of(repository: Path, runner: Any) -> None:
    folder = "models/a ${{ github.token }}\n';$(touch pwned)"
    git(repository, "mv", "models/a", folder)
    before = commit(repository)
    write(repository / folder / "requirements.txt", "numpy\n")
    commit(repository)
    event = {"before": before, "after": "HEAD", "head_commit": {"message": NASTY}}
    said = runner(
        "push", event, "--requirements", "requirements.txt", GITHUB_REF_NAME=NASTY, GITHUB_REF_TYPE="branch"
    )
    (job,) = json.loads(said["models"])
    assert job == {
        "name": "a",
        "contract": f"{folder}/gradatim.yml",
        "requirements": f"{folder}/requirements.txt",
    }
    assert said["any"] == "true"
    assert "\n" not in said["models"]
    assert not list(repository.rglob("pwned"))
    assert not [line for line in said["said"].splitlines() if line.startswith("::")]


def test_whoever_deploys_is_told_what_each_models_stage_holds(
    repository: Path, runner: Any, tmp_path: Path
) -> None:
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    git(repository, "remote", "add", "origin", str(tmp_path / "remote.git"))
    message = f"a release\n\nmanifest: sha256:{'ab' * 32}"
    for tag, said in (
        ("a@v1.0.0-beta.1", message), ("a@v1.0.0", message), ("a@v1.1.0", message),
        ("a#production#1", "a: v1.0.0\n\nversion: v1.0.0"), ("a#production#2", "a: v1.1.0\n\nversion: v1.1.0\nprevious: v1.0.0"),
        ("a#beta#1", "a: v1.0.0-beta.1\n\nversion: v1.0.0-beta.1"),
    ):  # fmt: skip
        git(repository, "tag", "-a", tag, "-m", said)
    git(repository, "push", "-q", "origin", "HEAD", "--tags")
    models = json.dumps([{"contract": f"models/{name}/gradatim.yml"} for name in "ab"])
    main = {"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main"}
    said = runner("push", {}, "held", "--models", models, **main)
    found = json.loads(said["releases"])
    assert found["a"] == {
        "version": "1.1.0", "tag": "a@v1.1.0", "stage": "production", "previous-version": "1.0.0", "is-prerelease": "false",
        "manifest": "ab" * 32, "environment": "production", "report": "gradatim-a+gate",
    }  # fmt: skip
    assert (found["b"]["tag"], found["b"]["stage"]) == ("", "production")
    assert "| a | production | a@\u200bv1.1.0 |" in said["summary"], "no name of a team is called up"
    asked = {"inputs": {"do": "promote", "stage": "beta", "model": "a"}}
    found = json.loads(
        runner("workflow_dispatch", asked, "held", "--models", json.dumps(json.loads(models)[:1]), **main)[
            "releases"
        ]
    )
    assert (found["a"]["version"], found["a"]["is-prerelease"]) == ("1.0.0-beta.1", "true")
    feature = {**main, "GITHUB_REF_NAME": "feature"}
    assert json.loads(runner("push", {}, "held", "--models", models, **feature)["releases"]) == {}
    with pytest.raises(UsageError, match="ci models"):
        runner("push", {}, "held", "--models", "nothing", **main)


def test_an_empty_plan_says_so(repository: Path, runner: Any) -> None:
    before = commit(repository)
    commit(repository, "README.md")
    said = runner(
        "push", {"before": before, "after": "HEAD"}, GITHUB_REF_TYPE="branch", GITHUB_REF_NAME="main"
    )
    assert (said["models"], said["any"]) == ("[]", "false")
    assert said["summary"] == said["said"] == "No model was touched.\n"


def test_a_repository_without_a_contract_is_told_how_to_get_one(
    tmp_path: Path, repository: Path, runner: Any
) -> None:
    git(repository, "rm", "-q", "-r", "models")
    with pytest.raises(UsageError, match="gradatim init"):
        runner("schedule", {})


def test_one_caller_serves_every_model_and_is_kept_when_another_comes(
    repository: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(repository)

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(cli, [*arguments], standalone_mode=False)

    assert invoke("ci", "caller", "--contract", "models/a/gradatim.yml").exception is None
    path = repository / CALLER
    both = path.read_text(encoding="utf-8")
    said = yaml.safe_load(both)
    assert said["jobs"]["release"]["uses"].partition("@")[0].endswith("/.github/workflows/models.yml")
    assert said[True]["workflow_dispatch"]["inputs"]["model"]["options"] == ["a", "b"]
    assert said[True]["push"] == {"branches": ["staging", "main"], "tags": ["*@v*"]}
    assert len(both.splitlines()) <= 15

    identity(repository / "models/c/m.onnx")
    done = invoke("init", "models/c", "--ci", "github")
    assert done.exception is None, done.exception
    assert "registry: {tags: named}" in (repository / "models/c/gradatim.yml").read_text(encoding="utf-8")
    three = path.read_text(encoding="utf-8")
    assert yaml.safe_load(three)[True]["workflow_dispatch"]["inputs"]["model"]["options"] == ["a", "b", "c"]

    path.write_text(three.replace("name: release\n", "name: ours\n"), encoding="utf-8")
    identity(repository / "models/d/m.onnx")
    assert isinstance(invoke("init", "models/d", "--ci", "github").exception, UsageError)
    assert path.read_text(encoding="utf-8").startswith("name: ours\n"), "what a person wrote is kept"


def test_at_the_top_of_a_repository_of_several_models_the_caller_is_written_and_doctor_looks_at_all(
    repository: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(repository)

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(cli, [*arguments], standalone_mode=False)

    written = invoke("ci", "caller")
    assert written.exception is None, written.exception
    said = yaml.safe_load((repository / CALLER).read_text(encoding="utf-8"))
    assert said[True]["workflow_dispatch"]["inputs"]["model"]["options"] == ["a", "b"]
    commit(repository)
    found = invoke("doctor", "--offline", "--json")
    assert found.exception is None, found.exception
    serious = [entry for entry in json.loads(found.output)["findings"] if entry["serious"]]
    assert [entry["trap"] for entry in serious] == ["no branch"]
    text = (repository / "models/b/gradatim.yml").read_text(encoding="utf-8")
    (repository / "models/b/gradatim.yml").write_text(text.replace("staging", "elsewhere"), encoding="utf-8")
    traps = {
        entry["where"] for entry in json.loads(invoke("doctor", "--offline", "--json").output)["findings"]
    }
    assert {"staging", "elsewhere"} <= traps


def test_doctor_knows_the_caller_of_several_and_tags_that_are_mixed_up(
    repository: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(repository)
    arguments = ["--contract", "models/a/gradatim.yml"]
    CliRunner().invoke(cli, ["ci", "caller", *arguments], standalone_mode=False)
    commit(repository)
    git(repository, "branch", "staging")

    def traps() -> dict[str, str]:
        done = CliRunner().invoke(cli, ["doctor", "--offline", "--json", *arguments], standalone_mode=False)
        return {
            found["trap"]: found["text"] for found in json.loads(done.output)["findings"] if found["serious"]
        }

    assert traps() == {}
    contract = repository / "models/b/gradatim.yml"
    contract.write_text(contract.read_text().replace("registry: {tags: named}\n", ""))
    assert traps() == {
        "models mixed up": "This repository holds several models, so tags must bear their names; add `registry: {tags: named}`."
    }


def test_init_tells_of_the_contract_whose_tags_bear_no_name(repository: Path, monkeypatch: Any) -> None:
    for name in ("a", "b"):
        contract = repository / "models" / name / "gradatim.yml"
        contract.write_text(contract.read_text().replace("registry: {tags: named}\n", ""))
    monkeypatch.chdir(repository)
    (repository / "models/c").mkdir()
    done = CliRunner().invoke(cli, ["init", "models/c"], standalone_mode=False)
    assert "models/a/gradatim.yml is a contract too" in done.output
