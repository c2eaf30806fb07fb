"""Rendered files read back: which jobs an event starts on each CI system, in which order, with which commands and secrets.

Every reader knows the words of its system that the kit uses, and nothing of the kit's own lists.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class Event:
    """What happened: a push to a branch, a pushed tag, a pull request into a branch, or a person at work."""

    kind: str
    branch: str = ""
    tag: str = ""
    do: str = ""
    stage: str = ""


@dataclass(frozen=True)
class Found:
    """A job as its file has it.

    Attributes:
        name: its own.
        script: every line that it runs, in order, the installation left out.
        needs: jobs that must have ended before.
        secrets: variables that it alone is given.
        takes: jobs whose leavings it takes over.
        variables: set for it besides.
        tolerated: whether the jobs that need it run after a refusal.
    """

    name: str
    script: tuple[str, ...]
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    tolerated: bool = False

    @property
    def command(self) -> str:
        """The one line that is the job's work, without what decides whether the others go on."""
        bare = [re.sub(r"^\{ |; \} && .*$", "", line) for line in self.script]
        (line,) = (line for line in bare if not re.search(r"gradatim ci (un)?pack", line))
        return re.sub(r" \|\| (true|test \$\? -eq 1)$", "", line)


Reader = Callable[[str, Event], list[Found]]


def jenkins(text: str, event: Event) -> list[Found]:
    """The stages of a Jenkinsfile whose `when` holds; those side by side wait for all before them."""
    found: list[Found] = []
    before: tuple[str, ...] = ()
    for wave in _blocks(text, r"^ {4}stage\('([^']+)'\)"):
        inner = [(n, b) for n, b in _blocks(wave[1], r"^ +stage\('([^']+)'\)")] or [wave]
        now = []
        for name, body in inner:
            ((_, when),) = _blocks(body, r"^ +(when)\b")
            scripts = re.findall(r"sh '''\n(.*?)'''", body, re.DOTALL)
            if not scripts or not _holds(when, event):
                continue
            lines = tuple(line.strip() for line in scripts[0].splitlines() if line.strip())
            takes = re.search(r"\[([^\]]*)\]\.each \{ unstash", body)
            now.append(
                Found(
                    name,
                    lines[1:],
                    before,
                    tuple(re.findall(r"(\w+) = credentials\(", body)),
                    tuple(re.findall(r"'([^']+)'", takes[1])) if takes and not event.tag else (),
                )
            )
        found += now
        before = (*before, *(job.name for job in now))
    return found


def _blocks(text: str, start: str) -> Iterator[tuple[str, str]]:
    """(name, what stands between the braces) of every block that begins so, outermost first."""
    place = 0
    while match := re.compile(start, re.MULTILINE).search(text, place):
        opened = text.index("{", match.end())
        depth, place = 1, opened + 1
        while depth:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += 1
        yield match[1], text[opened + 1 : place - 1]


def _holds(when: str, event: Event) -> bool:
    """A declarative `when`: all conditions in it."""
    text = when.replace("beforeAgent true", "")
    tests: dict[str, Callable[[re.Match[str]], bool]] = {
        r"expression \{ params\.GRADATIM_DO in \['promote', 'rollback'\] \}": lambda _: bool(event.do),
        r"expression \{ params\.GRADATIM_DO == '(\w+)' \}": lambda found: event.do == found[1],
        r"branch pattern: '([^']+)', comparator: 'REGEXP'": lambda found: bool(
            event.kind in ("push", "hand") and re.search(_unquoted(found[1]), event.branch)
        ),
        r"tag pattern: '([^']+)', comparator: 'REGEXP'": lambda found: bool(
            event.tag and re.search(_unquoted(found[1]), event.tag)
        ),
        r"changeRequest\(\)": lambda _: event.kind == "pull",
    }
    for pattern, test in tests.items():
        text = re.sub(pattern, lambda found, test=test: str(test(found)), text)
    text = re.sub(r"not \{ (True|False) \}", lambda found: str(found[1] == "False"), text)
    text = re.sub(r"anyOf \{([^{}]*)\}", lambda found: str("True" in found[1]), text)
    words = text.replace(";", " ").split()
    assert set(words) <= {"True", "False"}, f"a condition that this test cannot read: {text}"
    return "False" not in words


def _unquoted(text: str) -> str:
    return text.replace("\\\\", "\\")


def circleci(text: str, event: Event) -> list[Found]:
    """The jobs of the one workflow whose condition and filters hold."""
    said = yaml.safe_load(text)
    values = {
        "pipeline.parameters.do": event.do,
        "pipeline.parameters.stage": event.stage,
        "pipeline.git.tag": event.tag,
    }
    contexts = dict(re.findall(r"^#   ([\w-]+): (.+)$", text, re.MULTILINE))
    flows = [flow for flow in said["workflows"].values() if _logic(flow["when"], values)]
    found = []
    for flow in flows:
        for entry in flow["jobs"]:
            ((name, given),) = entry.items()
            if not _passes(given["filters"], event):
                continue
            job = said["jobs"].get(name)
            if job is None:
                assert given["type"] == "approval"
                continue
            lines, took = _circle_steps(said, job["steps"], values)
            needs = [n if isinstance(n, str) else next(iter(n)) for n in given.get("requires", ())]
            secrets = [v for context in given.get("context", ()) for v in contexts[context].split(", ")]
            variables = {
                key: values[value.strip("<> ")]
                for key, value in job.get("environment", {}).items()
                if value.strip("<> ") in values
            }
            takes = tuple(before.name for before in found) if took else ()
            found.append(
                Found(
                    name,
                    tuple(lines),
                    tuple(n for n in needs if n != "approve"),
                    tuple(secrets),
                    takes,
                    variables,
                )
            )
    return found


def _circle_steps(
    said: Mapping[str, Any], steps: list[Any], values: Mapping[str, str]
) -> tuple[list[str], bool]:
    lines, took = [], False
    for step in steps:
        name, given = next(iter(step.items())) if isinstance(step, dict) else (step, {})
        if name == "when":
            if _logic(given["condition"], values):
                more, took = _circle_steps(said, given["steps"], values)
                lines += more
        elif name == "run":
            lines.append(given["command"])
        elif name == "attach_workspace":
            took = True
        elif name in said["commands"] and name != "install":
            more, took_too = _circle_steps(said, said["commands"][name]["steps"], values)
            lines += [line.replace("<< parameters.job >>", given.get("job", "")) for line in more]
            took = took or took_too
    return lines, took


def _logic(condition: Any, values: Mapping[str, str]) -> bool:
    if isinstance(condition, str):
        return bool(values[condition.strip("<> ")])
    ((word, given),) = condition.items()
    if word == "equal":
        one, other = (values[x.strip("<> ")] if x.startswith("<<") else x for x in given)
        return bool(one == other)
    if word == "not":
        return not _logic(given, values)
    return (all if word == "and" else any)(_logic(part, values) for part in given)


def _passes(filters: Mapping[str, Any], event: Event) -> bool:
    """https://circleci.com/docs/configuration-reference/#jobfilters: without a filter for tags, no tag starts a job."""

    def matches(names: Any, name: str) -> bool:
        every = [names] if isinstance(names, str) else names
        return any(
            bool(re.fullmatch(one[1:-1], name)) if one.startswith("/") else one == name for one in every
        )

    if event.tag:
        return matches(filters.get("tags", {}).get("only", []), event.tag)
    branches = filters["branches"]
    branch = (
        "feature" if event.kind == "pull" else event.branch
    )  # it builds the pushes of a pull request's own branch
    return (
        matches(branches["only"], branch) if "only" in branches else not matches(branches["ignore"], branch)
    )


def travis(text: str, event: Event) -> list[Found]:
    """The jobs whose condition holds; each waits for all of the stages before its own."""
    said = yaml.safe_load(text)
    found: list[Found] = []
    stages: dict[str, list[str]] = {stage: [] for stage in said["stages"]}
    every = re.search(r"what is not its own:\n#   (.+)", text)
    for job in said["jobs"]["include"]:
        if not _condition(job["if"], event):
            continue
        before = [name for stage in stages for name in stages[stage] if stage != job["stage"]]
        stages[job["stage"]].append(job["name"])
        forgotten = [name for line in job.get("before_install", ()) for name in line.split()[1:]]
        secrets = [name for name in every[1].split(", ") if name not in forgotten] if every else []
        script = [*job.get("before_script", ()), *job["script"]]
        takes = tuple(job.get("workspaces", {}).get("use", ()))
        found.append(Found(job["name"], tuple(script), tuple(before), tuple(secrets), takes))
    return found


def _condition(text: str, event: Event) -> bool:
    """https://docs.travis-ci.com/user/conditions-v1"""
    kind = {"push": "push", "tag": "push", "pull": "pull_request", "hand": "api"}[event.kind]
    values = {"env(GRADATIM_DO)": event.do, "tag": event.tag, "type": kind, "branch": event.branch}
    name = r"(env\(GRADATIM_DO\)|tag|type|branch)"
    text = re.sub(rf"{name} IS blank", lambda f: str(not values[f[1]]), text)
    text = re.sub(
        rf"{name} IN \(([^)]*)\)",
        lambda f: str(values[f[1]] in [word.strip().strip('"') for word in f[2].split(",")]),
        text,
    )
    text = re.sub(rf"{name} =~ /(.+?)/(?= |$|\))", lambda f: str(bool(re.search(f[2], values[f[1]]))), text)
    text = re.sub(rf"{name} = (\w+)", lambda f: str(values[f[1]] == f[2]), text)
    plain = text.replace("AND", "and").replace("OR", "or")
    assert re.fullmatch(r"(True|False|and|or|[() ])+", plain), plain
    return bool(eval(plain))  # noqa: S307 (words of logic alone)


def gitlab(text: str, event: Event) -> list[Found]:
    """The jobs of a pipeline whose rules hold, with what they extend filled in; every input is filled in already."""
    said = yaml.safe_load(text)

    def whole(job: dict[str, Any]) -> dict[str, Any]:
        below = whole(said[job["extends"]]) if "extends" in job else {}
        nested = {k: {**below.get(k, {}), **v} for k, v in job.items() if isinstance(v, dict)}
        return {**below, **job, **nested}

    prefix = "gradatim-"
    found = []
    for name, job in ((n, whole(j)) for n, j in said.items() if not n.startswith(".")):
        if not _started(job["rules"], event):
            continue
        needs = [n["job"] if isinstance(n, dict) else n for n in job["needs"]]
        here = tuple(
            n.removeprefix(prefix) for n in needs if n.removeprefix(prefix) in [f.name for f in found]
        )
        scope = job.get("environment", {}).get("name", "")
        secrets = ("release/*",) if scope.startswith("release/") else ()
        goes_on = job.get("allow_failure") == {"exit_codes": [1]}
        found.append(
            Found(name.removeprefix(prefix), tuple(job["script"]), here, secrets, here, tolerated=goes_on)
        )
    return found


def _started(rules: list[dict[str, str]], event: Event) -> bool:
    """https://docs.gitlab.com/ci/yaml/#rulesif: the first rule that holds."""
    source = {"pull": "merge_request_event", "hand": "web"}.get(event.kind, "push")
    values = {
        "$GRADATIM_DO": event.do,
        "$CI_PIPELINE_SOURCE": source,
        "$CI_COMMIT_BRANCH": event.branch if event.kind in ("push", "hand") else "",
        "$CI_COMMIT_TAG": event.tag,
        "$GRADATIM_NOTE_TOKEN": "",  # nobody set it: no note is written
        "$CI_PROJECT_ID": "5",
        "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "5" if event.kind == "pull" else "",
    }

    def holds(text: str) -> bool:
        text = re.sub(r"(\$\w+) =~ /(.+?)/(?= |$)", lambda f: str(bool(re.search(f[2], values[f[1]]))), text)
        text = re.sub(r'(\$\w+) == "([^"]*)"', lambda f: str(values[f[1]] == f[2]), text)
        text = re.sub(r'(\$\w+) != "([^"]*)"', lambda f: str(values[f[1]] != f[2]), text)
        text = re.sub(r'"([^"]*)" == "([^"]*)"', lambda f: str(f[1] == f[2]), text)
        text = re.sub(r"(\$\w+) == (\$\w+)", lambda f: str(values[f[1]] == values[f[2]]), text)
        text = re.sub(r"\$\w+", lambda f: str(bool(values[f[0]])), text)
        plain = text.replace("&&", "and").replace("||", "or")
        assert re.fullmatch(r"(True|False|and|or|[() ])+", plain), plain
        return bool(eval(plain))  # noqa: S307 (words of logic alone)

    for rule in rules:
        if holds(rule["if"]):
            return rule.get("when") != "never"
    return False


def github(files: Mapping[str, str], plan: Mapping[str, Any], event: Event) -> list[Found]:
    """The jobs of the release's workflow, and of what it calls, whose `if` holds.

    Args:
        files: the kit's rendered files by path.
        plan: what the job `plan` said of the event.
    """
    names = {"push": "push", "tag": "push", "pull": "pull_request", "hand": "workflow_dispatch"}
    return _called(files, ".github/workflows/release.yml", plan, names[event.kind], {})


def _called(
    files: Mapping[str, str],
    path: str,
    plan: Mapping[str, Any],
    event_name: str,
    given: Mapping[str, str],
) -> list[Found]:
    results: dict[str, str] = {}
    found: list[Found] = []
    inner: dict[str, tuple[str, ...]] = {}
    left: dict[str, Any] = yaml.safe_load(files[path])["jobs"]
    while left:
        name = next(name for name, job in left.items() if results.keys() >= {*job.get("needs", [])})
        job = left.pop(name)
        needs = job.get("needs", [])
        values = {f"needs.{need}.result": results[need] for need in needs}
        values |= {f"inputs.{key}": value for key, value in given.items()}
        values["github.event_name"] = event_name
        runs = _expression(job.get("if", "success()"), values, plan, [results[need] for need in needs])
        results[name] = "success" if runs else "skipped"
        if not runs:
            continue
        if job.get("uses", "").startswith("$/"):
            called = _called(files, job["uses"][2:], plan, event_name, job.get("with", {}))
            inner[name] = tuple(one.name for one in called)  # its output `left` tells what these left
            found += called
        used = [step for step in job.get("steps", ()) if step.get("uses", "").startswith("$/actions/")]
        if len(used) == 1 and name != "plan":
            whole = [one for need in needs for one in inner.get(need, (need,))]
            found.append(_action(files, name, tuple(whole), used[0], plan))
    return found


def _action(
    files: Mapping[str, str],
    name: str,
    needs: tuple[str, ...],
    used: Mapping[str, Any],
    plan: Mapping[str, Any],
) -> Found:
    """A job that is one action: what the action's own steps run, with its inputs filled in."""
    said = yaml.safe_load(files[f"actions/{used['uses'].rpartition('/')[2]}/action.yml"])
    inputs = {key: str(given.get("default", "")) for key, given in said["inputs"].items()}
    assert {*used["with"]} <= {*inputs}
    inputs |= {key: str(value) for key, value in used["with"].items()}
    lines, variables = [], dict[str, str]()
    secrets = [key for key, value in used.get("env", {}).items() if "secrets." in value]
    for step in said["runs"]["steps"]:
        shown = "GITHUB_STEP_SUMMARY" in step.get("run", "") or "shards" in step.get("run", "")
        if not step.get("run", "").startswith("gradatim") or shown:
            continue
        own = {}
        for variable, value in step["env"].items():
            filled = _filled(value, inputs, plan, name)
            if "secrets." in filled or "steps.app." in filled:
                secrets.append(variable)
            elif not variable.startswith("GIT_CONFIG") and "${{" not in filled:
                own[variable] = filled
        lines.append(step["run"].replace('"$STEP"', own.pop("STEP", "")))
        variables |= own
    return Found(name, tuple(lines), needs, tuple(secrets), needs, variables, tolerated=True)


def _filled(text: str, inputs: Mapping[str, str], plan: Mapping[str, Any], job: str) -> str:
    """The value of an expression in an action: the first of its alternatives that says anything."""
    if "${{" not in text:
        return text
    text = text.strip("${} ")
    if text.startswith("toJSON("):
        return text
    for one in re.sub(r"\S+ && format\(.*?\) \|\| ", "", text).split(" || "):
        if planned := re.fullmatch(r"fromJSON\(inputs\.plan \|\| '\{\}'\)\.([\w-]+)", one):
            found = str(plan.get(planned[1], ""))
        elif one.startswith("inputs."):
            found = inputs.get(one.removeprefix("inputs."), "")
            found = job if found.strip("${} ") == "github.job" else found
        else:
            found = job if one == "github.job" else one if one.startswith("steps.") else ""
        if found:
            return found
    return ""


def _expression(text: str, values: Mapping[str, str], plan: Mapping[str, Any], results: list[str]) -> bool:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/expressions"""
    text = " ".join(text.strip().removeprefix("${{").removesuffix("}}").split())
    if not re.search(r"(cancelled|always)\(\)", text) and any(result != "success" for result in results):
        return False  # without a word about it, a job runs only after success

    def planned(found: re.Match[str]) -> str:
        value = plan[found[1]]
        return repr(value if isinstance(value, str) else bool(value))

    text = text.replace("!cancelled()", "True").replace("always()", "True").replace("success()", "True")
    text = text.replace("github.event.pull_request.head.repo.full_name == github.repository", "True")
    text = re.sub(
        r"fromJSON\((?:inputs\.plan \|\| )?needs\.plan\.outputs\.plan(?: \|\| '\{\}')?\)\.([\w-]+)(?:\[0\])?",
        planned,
        text,
    )
    text = re.sub(r"[\w.-]*(?:needs|inputs|github)\.[\w.-]+", lambda f: repr(values.get(f[0], "")), text)
    plain = (
        text.replace("&&", " and ")
        .replace("||", " or ")
        .replace("!=", "<>")
        .replace("!", " not ")
        .replace("<>", "!=")
    )
    return bool(eval(plain))  # noqa: S307 (our own workflows)


def normalised(command: str) -> list[str]:
    """A command's words, its variables by the names that they have on every system."""
    return [word.replace("GRADATIM_", "") for word in shlex.split(command)]
