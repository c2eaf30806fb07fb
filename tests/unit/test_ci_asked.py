"""What forges are asked for and what is made of their answers: approvals, issues, and which project is meant."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gradatim.ci import issues
from gradatim.ci.approval import Approval
from gradatim.ci.github import GitHub
from gradatim.ci.github_api import Call, GitHubApi
from gradatim.ci.gitlab_api import GitLabApi
from gradatim.ci.gitlab_project import GitLabProject
from gradatim.errors import EnvironmentLacks, UsageError

requests = pytest.importorskip("requests")
ON_GITHUB = {
    "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "7", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_TOKEN": "t", "GITHUB_ACTOR": "ada",
}  # fmt: skip
RUN = "https://github.com/o/r/actions/runs/7"


class GitHubStandIn:
    """Answers by path, and keeps what was asked."""

    def __init__(self, answers: Any) -> None:
        self.answers, self.asked = answers, list[Any]()

    def below(self, *parts: Any) -> str:
        return "/".join(["/repos/o/r", *map(str, parts)])

    def get(self, path: str) -> Any:
        self.asked.append(path)
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers

    def pages(self, path: str, **_: Any) -> list[Any]:
        return list(self.get(path))

    def make(self, call: Call) -> Any:
        self.asked.append((call.method, call.path, dict(call.body or {})))
        return {"html_url": f"page of {call.path}"}


def approved(monkeypatch: pytest.MonkeyPatch, answers: Any) -> Approval:
    standing = GitHubStandIn(answers)
    monkeypatch.setattr(GitHubApi, "from_environment", lambda _: standing)
    found = GitHub(ON_GITHUB).approval("ada", "live")
    assert standing.asked == ["/repos/o/r/actions/runs/7/approvals"]
    return found


def review(who: str | None, state: str, *environments: str) -> dict[str, Any]:
    user = None if who is None else {"login": who}
    return {"user": user, "state": state, "environments": [{"name": name} for name in environments]}


def test_who_approved_is_whoever_approved_this_environment_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reviews = [
        review("dora", "approved", "live"), review("bob", "approved", "beta", "live"), review("carl", "rejected", "live"),
        review("eve", "approved", "beta"), review("eve", "approved"), {"user": {"login": "x"}, "state": "approved"},
    ]  # fmt: skip
    found = approved(monkeypatch, reviews)
    assert found == Approval("ada", RUN, "live", ("bob", "dora"), tells=True)
    assert found.text == "approved by bob and dora in live"
    assert approved(monkeypatch, []) == Approval("ada", RUN, "live", (), tells=True)


def test_an_approval_that_cannot_be_asked_for_is_unknown_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = approved(monkeypatch, EnvironmentLacks("403."))
    why = "403. The job needs `permissions: actions: read`."
    assert found == Approval("ada", RUN, "live", None, why, tells=True)
    nothing = approved(monkeypatch, {"message": "Not Found"})
    assert nothing == Approval("ada", RUN, "live", None, "GitHub knows no such run.", tells=True)


BODY = "<!-- marker -->\nplan"


def issue(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "body": BODY, "user": {"type": "Bot"}, "author_association": "NONE", **more}


@pytest.mark.parametrize(
    ("there", "number"),
    [
        ([], None), ([issue(3)], 3), ([issue(3, body="other"), issue(4)], 4), ([issue(3, pull_request={})], None),
        ([issue(3, user={"type": "User"})], None), ([issue(3, user={"type": "User"}, author_association="OWNER")], 3),
        ([issue(3, user=None)], None), ([issue(3, body=None)], None), ([issue(5), issue(6)], 5),
    ],
)  # fmt: skip
def test_a_plan_is_written_into_the_issue_that_is_ours_and_a_strangers_stays(
    there: list[Any], number: int | None
) -> None:
    standing = GitHubStandIn(there)
    page = issues._on_github(standing, "title", BODY)  # type: ignore[arg-type]
    target = "/repos/o/r/issues" + (f"/{number}" if number else "")
    method = "PATCH" if number else "POST"
    assert standing.asked == [
        "/repos/o/r/issues?state=open",
        (method, target, {"title": "title", "body": BODY}),
    ]
    assert page == f"page of {target}"


class GitLabStandIn:
    def __init__(self, there: list[Any]) -> None:
        self.there, self.asked = there, list[Any]()

    def below(self, *parts: Any) -> str:
        return "/".join(["/p", *map(str, parts)])

    def mine(self, path: str, **how: str) -> list[Any]:
        self.asked.append((path, how))
        return self.there

    def pages(self, path: str, **how: str) -> list[Any]:
        return self.mine(path, **how)

    def ask(self, method: str, path: str, said: dict[str, Any]) -> Any:
        self.asked.append((method, path, said))
        return {"web_url": f"page of {path}"}


@pytest.mark.parametrize(
    ("there", "number"),
    [([], None), ([{"iid": 3, "description": "other"}, {"iid": 4, "description": BODY}], 4), ([{"iid": 3, "description": None}], None)],
)  # fmt: skip
def test_a_plan_on_gitlab_is_written_into_the_issue_that_bears_its_mark(
    there: list[Any], number: int | None
) -> None:
    standing = GitLabStandIn(there)
    page = issues._on_gitlab(standing, "title", BODY)  # type: ignore[arg-type]
    asked, made = standing.asked
    assert asked == ("/p/issues", {"state": "opened", "search": "title", "in": "title"})
    target = "/p/issues" + (f"/{number}" if number else "")
    assert made == ("PUT" if number else "POST", target, {"title": "title", "description": BODY})
    assert page == f"page of {target}"


def test_issues_with_a_label_are_asked_for_where_there_is_a_token_and_pull_requests_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = [
        {"number": 3, "body": "a"},
        {"number": 4, "body": None},
        {"number": 5, "body": "b", "pull_request": {}},
    ]
    standing = GitHubStandIn(there)
    monkeypatch.setattr(GitHubApi, "from_environment", lambda _: standing)
    for token in ("GH_TOKEN", "GITHUB_TOKEN"):
        assert issues.labelled_issues({token: "t"}, "bad answer") == {"#3": "a", "#4": ""}
    assert standing.asked == ["/repos/o/r/issues?state=all&labels=bad+answer"] * 2
    assert issues.labelled_issues({"GH_TOKEN": ""}, "x") is None
    other = GitLabStandIn([{"iid": 7, "description": "c"}, {"iid": 8, "description": None}])
    given: list[Any] = [other, None]
    monkeypatch.setattr(GitLabApi, "from_environment", lambda *_: given.pop(0))
    on_gitlab = {"CI_API_V4_URL": "https://g/api/v4", "GH_TOKEN": "t"}
    assert issues.labelled_issues(on_gitlab, "bad") == {"#7": "c", "#8": ""}
    assert other.asked == [("/p/issues", {"labels": "bad"})]
    assert issues.labelled_issues(on_gitlab, "bad") is None


class Refused(Exception):
    """As python-gitlab says it."""

    def __init__(self, error_message: str, response_code: int) -> None:
        super().__init__(error_message)
        self.error_message, self.response_code = error_message, response_code


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Clients of GitLab's that were made: its library need not be installed."""
    found = list[tuple[str, dict[str, Any]]]()
    library = SimpleNamespace(GitlabError=Refused, Gitlab=lambda server, **how: found.append((server, how)))
    monkeypatch.setitem(sys.modules, "gitlab", library)
    return found


SSH, HTTP, PORT = (
    "git@git.example.org:a/b.git",
    "https://user:x@git.example.org/a/sub/b.git/",
    "http://localhost:8080/a/b",
)


@pytest.mark.parametrize(
    ("url", "path", "environment", "where", "server"),
    [
        (SSH, None, {}, "a/b", "https://git.example.org"), (HTTP, None, {}, "a/sub/b", "https://git.example.org"),
        (PORT, None, {}, "a/b", "http://localhost:8080"), ("ssh://git@git.example.org:2222/a/b.git", None, {}, "a/b", "https://git.example.org"),
        (SSH, "x/y", {}, "x/y", "https://git.example.org"), (None, "x/y", {}, "x/y", "https://gitlab.com"),
        (None, None, {"CI_PROJECT_PATH": "c/d"}, "c/d", "https://gitlab.com"), (SSH, None, {"CI_PROJECT_PATH": "c/d"}, "c/d", "https://git.example.org"),
        (SSH, "x/y", {"CI_PROJECT_PATH": "c/d"}, "x/y", "https://git.example.org"), (SSH, None, {"CI_SERVER_URL": "https://own"}, "a/b", "https://own"),
    ],
)  # fmt: skip
def test_the_project_that_is_meant_is_named_or_where_the_remote_leads(
    made: list[Any], url: str | None, path: str | None, environment: dict[str, str], where: str, server: str
) -> None:
    found = GitLabProject.found({"GITLAB_TOKEN": "t", **environment}, url, path)
    assert found.path == where
    ((there, how),) = made
    assert (there, how["private_token"]) == (server, "t")
    assert GitLabProject.found(environment, url, path).path == where
    assert not GitLabProject.found(environment, url, path).seen
    assert len(made) == 1, "without a token nobody is asked"


@pytest.mark.parametrize(("url", "path"), [(None, None), (None, "alone"), ("/srv/git/alone.git", None), ("git@host:alone", None)])  # fmt: skip
def test_a_project_that_nobody_names_is_asked_for(url: str | None, path: str | None) -> None:
    with pytest.raises(UsageError, match="Which project on GitLab is meant"):
        GitLabProject.found({"GITLAB_TOKEN": "t"}, url, path)


def test_without_its_library_gitlab_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gitlab", None)
    with pytest.raises(EnvironmentLacks, match="Asking GitLab takes python-gitlab"):
        GitLabProject.found({"GITLAB_TOKEN": "t"}, SSH, None)
    assert GitLabProject.found({}, SSH, None).path == "a/b"


class Answered:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def json(self) -> Any:
        return json.loads(self.content)


class Asked:
    """A client of GitLab's."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.made = answer, list[Any]()

    def http_request(self, method: str, path: str, **more: Any) -> Any:
        self.made.append((method, path, more))
        if isinstance(self.answer, Exception):
            raise self.answer
        return Answered(self.answer)


def asking(answer: Any) -> tuple[GitLabProject, Asked]:
    client = Asked(answer)
    return GitLabProject("group/sub/name", client), client


def test_a_project_on_gitlab_is_asked_below_its_quoted_path() -> None:
    known, client = asking(b'{"id": 3}')
    assert known.seen
    assert known.below("hooks", "a/b") == "/projects/group%2Fsub%2Fname/hooks/a%2Fb"
    assert known.get("/x") == {"id": 3}
    assert known.make(Call("PUT", "/x", {"a": 1})) == {"id": 3}
    assert client.made == [("get", "/x", {}), ("put", "/x", {"post_data": {"a": 1}})]
    assert asking(b"")[0].make(Call("DELETE", "/x")) == {}


def test_what_nobody_can_be_asked_is_nothing_and_refuses_nothing() -> None:
    known = GitLabProject("group/name")
    assert not known.seen
    assert known.get("/x") is None
    assert known.offers("/x")
    assert known.number("users", "ada") == 0


@pytest.mark.parametrize(("status", "offered", "got"), [(404, False, None), (403, False, EnvironmentLacks), (500, EnvironmentLacks, EnvironmentLacks)])  # fmt: skip
def test_what_gitlab_refuses_is_nothing_only_where_it_may_be_lacking(
    status: int, offered: Any, got: Any
) -> None:
    known, _ = asking(Refused("no words", status))
    for ask, expected in ((known.offers, offered), (known.get, got)):
        if expected is EnvironmentLacks:
            with pytest.raises(EnvironmentLacks, match=rf"GitLab refuses GET /x: no words \({status}\)"):
                ask("/x")
        else:
            assert ask("/x") is expected
    for broken in (requests.ConnectionError("gone"), ValueError("no json")):
        with pytest.raises(EnvironmentLacks, match=r"GitLab does not answer as it should: (gone|no json)"):
            asking(broken)[0].get("/x")


def test_a_name_on_gitlab_is_a_number_or_nobody() -> None:
    known, client = asking(b'[{"id": 12}, {"id": 13}]')
    assert known.number("users", "ada l") == 12
    assert client.made == [("get", "/users?username=ada%20l", {})]
    known, client = asking(b'{"id": "14"}')
    assert known.number("groups", "a/b") == 14
    assert client.made == [("get", "/groups/a%2Fb", {})]
    for kind, word, answer in (("users", "user", b"[]"), ("groups", "group", b"")):
        with pytest.raises(UsageError, match=f"There is no {word} 'ada' on GitLab"):
            asking(answer)[0].number(kind, "ada")
