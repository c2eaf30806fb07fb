"""The Hugging Face Hub: what `main` holds, the model card as README, uploads that resume, and a token nobody sees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from publishing.crashes import problems
from publishing.huggingface import HuggingFacePlace
from publishing.servers import Servers
from registry_examples import act_as_ada, clone, git, new_repository, release_files

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.registry.git import Repository
from gradatim.releasing.publishing import publish

CARD = b"---\nlibrary_name: onnx\n---\n# digits\n"


@pytest.fixture
def place(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HuggingFacePlace:
    found = servers.place("huggingface", tmp_path / "remote.git")
    assert isinstance(found, HuggingFacePlace)
    act_as_ada(monkeypatch, found.credentials)
    return found


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


def put(place: HuggingFacePlace, repo: Path, version: str, card: bytes | None = CARD, **files: bytes) -> None:
    others = {} if card is None else {"model-card.md": card}
    release = release_files(
        repo, version, {"a.onnx": version.encode(), **files}, stage=None, others=dict(others)
    )
    publish(Repository.find(repo), release, [place.publisher()])


def main(place: HuggingFacePlace) -> dict[str, bytes]:
    tree = place.repo.commits[place.repo.branches["main"]]
    return {path: data for path, (data, _) in tree.items() if path != ".gitattributes"}


def test_a_release_is_one_tagged_commit_and_main_holds_the_newest_final_one(
    place: HuggingFacePlace, repo: Path
) -> None:
    put(place, repo, "v1.0.0-beta.1")
    assert main(place) == {}, "a pre-release is there by its tag alone"
    put(place, repo, "v1.0.0", old=b"goes with v1.1.0")
    assert main(place)["a.onnx"] == b"v1.0.0"
    put(place, repo, "v1.1.0")
    assert main(place)["a.onnx"] == b"v1.1.0"
    assert "old" not in main(place)
    put(place, repo, "v1.0.1")
    assert main(place)["a.onnx"] == b"v1.1.0", "a fix of an older line is not the newest"
    assert {tag for tag in place.repo.tags if "#" not in tag} == {
        "v1.0.0-beta.1",
        "v1.0.0",
        "v1.1.0",
        "v1.0.1",
    }
    assert [title for branch, title in place.repo.titles if branch == "main"][1:] == ["v1.0.0", "v1.1.0"]
    assert place.files("v1.0.0")["a.onnx"] == (b"v1.0.0", True), "a tag never moves"
    assert set(place.repo.branches) == {"main"}


def test_the_model_card_is_the_readme_unless_somebody_wrote_another(
    place: HuggingFacePlace, repo: Path, tmp_path: Path
) -> None:
    put(place, repo, "v1.0.0")
    assert main(place)["README.md"] == CARD
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    assert problems(other, "v1.0.0") == [], "the README is the card once more, not a file too many"
    put(place, repo, "v1.1.0", card=CARD + b"better\n")
    assert main(place)["README.md"] == CARD + b"better\n"
    tree = {**place.repo.commits[place.repo.branches["main"]], "README.md": (b"by hand\n", False)}
    tree["photo.png"] = (b"png", False)
    place.repo.add("main", tree, "a nicer page")
    put(place, repo, "v1.2.0")
    assert (main(place)["a.onnx"], main(place)["README.md"]) == (b"v1.2.0", b"by hand\n")
    assert main(place)["photo.png"] == b"png", "what no release brought stays"
    assert place.files("v1.2.0")["README.md"][0] == CARD
    assert "photo.png" not in place.files("v1.2.0")


def test_a_readme_of_the_model_itself_stays_what_it_is(place: HuggingFacePlace, repo: Path) -> None:
    put(place, repo, "v1.0.0", **{"README.md": b"of the model\n"})
    assert place.files("v1.0.0")["README.md"][0] == b"of the model\n"
    put(place, repo, "v1.1.0", **{"README.md": CARD})
    assert problems(repo, "v1.1.0") == [], "though it is the card, byte for byte"
    place.alter("v1.0.0", "README.md", b"altered\n")
    assert problems(repo, "v1.0.0") == ["altered file: README.md"]


def test_what_the_hub_has_already_is_not_uploaded_again(place: HuggingFacePlace, repo: Path) -> None:
    weights, head, other_head = os.urandom(300_000), os.urandom(9), os.urandom(9)
    release = release_files(repo, "v1.0.0", {"a.onnx": weights, "b.onnx": head})
    before = place.server.uploads
    place.publisher().draft(release)
    assert place.server.uploads == before + 2
    place.lose_from_draft("a.onnx", weights)
    publish(Repository.find(repo), release, [place.publisher()])
    next_one = release_files(repo, "v1.0.1", {"a.onnx": weights, "b.onnx": other_head})
    publish(Repository.find(repo), next_one, [place.publisher()])
    assert place.server.uploads == before + 3


def test_a_tag_that_somebody_else_made_is_in_the_way(place: HuggingFacePlace, repo: Path) -> None:
    place.repo.tags["v1.0.0"] = place.repo.branches["main"]
    with pytest.raises(BrokenEvidence, match="in the way"):
        put(place, repo, "v1.0.0")
    assert set(place.repo.branches) == {"main"}
    assert git(repo, "ls-remote", "--tags", "origin") == ""


def test_a_commit_of_somebody_else_is_never_overwritten(
    place: HuggingFacePlace, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody edits main between our look and our commit: the Hub refuses it, and we look again."""
    answer, edited = place.server._act, []

    def meddle(method, path, query, headers, body):  # type: ignore[no-untyped-def]
        if path.endswith("/commit/main") and not edited:
            tree = {**place.repo.commits[place.repo.branches["main"]], "notes.txt": (b"mine", False)}
            edited.append(place.repo.add("main", tree, "notes"))
        return answer(method, path, query, headers, body)

    monkeypatch.setattr(place.server, "_act", meddle)
    put(place, repo, "v1.0.0")
    assert edited
    assert (main(place)["notes.txt"], main(place)["a.onnx"]) == (b"mine", b"v1.0.0")


@pytest.mark.parametrize("said", ["hf_expired", "missing repository"])
def test_a_token_or_a_repository_that_will_not_do_is_explained(
    place: HuggingFacePlace, repo: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    if said == "hf_expired":
        monkeypatch.setenv("HF_TOKEN", said)
    else:
        place.address += "-elsewhere"
    with pytest.raises(EnvironmentLacks, match="repository must exist, and HF_TOKEN"):
        put(place, repo, "v1.0.0")
    assert git(repo, "ls-remote", "--tags", "origin") == ""
