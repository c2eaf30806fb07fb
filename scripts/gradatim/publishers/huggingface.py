"""A model repository of the Hugging Face Hub as the place that releases are published to.

A release is one commit: it is made on a branch of its own, read back, and becomes public by the tag of its version,
which the Hub creates once and never moves. ``main``, which people load who name no version, then gets the same files
in one commit, unless the release is a pre-release or ``main`` is as new already. The model card is its ``README.md``.

Source: the Hub's API (https://huggingface.co/.well-known/openapi.json), spoken by its own client, huggingface_hub.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from gradatim.errors import EnvironmentLacks, InvalidInput, missing_package
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.release_record import (
    CARD_FILE,
    MANIFEST_FILE,
    RECORD_FILE,
    SIGNATURE_FILE,
    ReleaseRecord,
)
from gradatim.publishers.forge import description, find_project
from gradatim.publishers.publisher import Draft, Publication
from gradatim.publishers.transfer import (
    checked_source,
    compare,
    gone,
    is_entry,
    is_held,
    not_the_release,
    own_record,
    save,
)
from gradatim.publishers.web import Changed, Web, patiently
from gradatim.registry.tags import SemVer

_TOKEN = "HF_TOKEN"  # noqa: S105 (its name)
_TREE = "/tree/"
_DRAFT = "gradatim-draft-"
_MAIN = "main"
_README = "README.md"
_OURS = ".gitattributes"
"""The Hub's own file, in every commit."""
_Found = TypeVar("_Found")


class HuggingFacePublisher:
    """Publishes to a model repository, which must exist: whether it is private is not ours to decide.

    Args:
        address: ``OWNER/NAME``, or an address of the repository or of one of its releases.
    """

    kind = "huggingface"

    def __init__(self, address: str) -> None:
        server = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self._project = find_project(address.partition(_TREE)[0], self.kind, server, None)

    @property
    def location(self) -> str:
        return self._project.url

    def publication(self, release: ReleaseFiles) -> Publication:
        """See ``Publisher.publication``."""
        record = release.record
        place = f"{self.location}{_TREE}{quote(release.tag, safe='')}"
        return Publication(self.kind, place, record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """See ``Publisher.draft``."""
        if self._token is None:
            raise EnvironmentLacks(f"{self.location} needs a token to be written to. Set {_TOKEN}.")
        branch = f"{_DRAFT}{release.record.digest[:16]}"

        def try_once() -> Draft:
            if self._is_public(release):
                self._compare(release)
                return Draft(release, branch, self.publication(release))
            self._fill(branch, release)
            return Draft(release, branch)

        return patiently(self.location, try_once)

    def publish(self, draft: Draft) -> Publication:
        """See ``Publisher.publish``."""
        release = draft.release

        def try_once() -> None:
            if not self._is_public(release):
                commit = self._refs("branches").get(draft.place)
                if commit is None:
                    raise Changed
                self._ask(lambda hub: hub.create_tag(self._project.path, tag=release.tag, revision=commit))
            self._compare(release)
            self._lead(release)
            if draft.place in self._refs("branches"):
                self._ask(lambda hub: hub.delete_branch(self._project.path, branch=draft.place))

        patiently(self.location, try_once)
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.holds``."""
        return is_held(release, self._is_public, self._compare)

    def discard(self, draft: Draft) -> None:
        """See ``Publisher.discard``. What was uploaded and is in no commit is the Hub's to collect."""
        if draft.public is None and draft.place in self._refs("branches"):
            with contextlib.suppress(Changed):  # whoever made the same draft took it back first
                self._ask(lambda hub: hub.delete_branch(self._project.path, branch=draft.place))

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``."""
        tag = unquote(publication.location.partition(_TREE)[2])
        commit = self._refs("tags").get(tag)
        if commit is None:
            raise gone(publication)
        files = self._tree(commit)
        if _is_card(files) and _README not in self._listed(commit, files):
            del files[_README]
        for path in files:
            save(self._read(commit, path), into, path)
        return into

    # what publishing is made of

    def _is_public(self, release: ReleaseFiles) -> bool:
        """Whether the tag names these bytes; when it names another release it is refused."""
        commit = self._refs("tags").get(release.tag)
        if commit is None:
            return False
        place = self.publication(release).location
        found = b"".join(self._read(commit, RECORD_FILE)) if RECORD_FILE in self._tree(commit) else None
        own_record(place, release, found, "Delete that tag")
        return True

    def _compare(self, release: ReleaseFiles) -> None:
        """Download everything: what the tag names must be the release, no more and no less."""
        place = self.publication(release).location
        commit = self._refs("tags").get(release.tag)
        if commit is None:
            raise not_the_release(place, "it is gone.")
        compare(
            place,
            _wanted(release),
            self._tree(commit),
            lambda path, entry: is_entry(self._read(commit, path), entry),
        )

    def _fill(self, branch: str, release: ReleaseFiles) -> None:
        """Complete a draft: files that an interrupted run left whole, or that the Hub has from before, are kept."""
        branches = self._refs("branches")
        if branch not in branches:
            self._ask(lambda hub: hub.create_branch(self._project.path, branch=branch, exist_ok=True))
            branches = self._refs("branches")
        if branch not in branches:
            raise Changed
        wanted, there = _wanted(release), self._tree(branches[branch])
        missing = {
            path: entry
            for path, entry in wanted.items()
            if path not in there or not is_entry(self._read(branches[branch], path), entry)
        }
        # A signature joins last: another run may just have put it there.
        strange = there.keys() - wanted.keys() - {SIGNATURE_FILE}
        if missing or strange:
            self._commit(branch, branches[branch], release, missing, strange)
        commit = self._refs("branches").get(branch)
        for path, entry in missing.items():
            if commit is None:
                raise Changed
            if not is_entry(self._read(commit, path), entry):
                raise not_the_release(
                    f"{self.location}{_TREE}{branch}", "what was uploaded does not come back."
                )

    def _lead(self, release: ReleaseFiles) -> None:
        """Let ``main`` hold the newest final release. Files that no release brought stay, an edited README too."""
        version = SemVer.parse(release.record.version)
        head = self._refs("branches").get(_MAIN)
        if version.prerelease or head is None:
            return
        there = self._tree(head)
        before = self._listed(head, there)
        if RECORD_FILE in there:
            record = ReleaseRecord.from_bytes(b"".join(self._read(head, RECORD_FILE)))
            if record.name != release.record.name or SemVer.parse(record.version) >= version:
                return
        wanted = _wanted(release)
        if _README in there and not _is_card(there) and _README not in before:
            wanted.pop(_README, None)
        self._commit(_MAIN, head, release, wanted, (before & there.keys()) - wanted.keys())

    def _listed(self, commit: str, there: Mapping[str, str]) -> set[str]:
        """The files that the release in a commit names; none where there is no release."""
        if RECORD_FILE not in there or MANIFEST_FILE not in there:
            return set()
        record = ReleaseRecord.from_bytes(b"".join(self._read(commit, RECORD_FILE)))
        manifest = Manifest.from_bytes(b"".join(self._read(commit, MANIFEST_FILE)))
        return {SIGNATURE_FILE, *(entry.path for entry in (*record.files, *manifest.files))}

    def _commit(
        self,
        branch: str,
        parent: str,
        release: ReleaseFiles,
        files: Mapping[str, FileEntry],
        strange: set[str],
    ) -> None:
        """One commit; refused by the Hub when somebody else's came first."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [CommitOperationDelete(path, is_folder=False) for path in sorted(strange)]
        for path, entry in files.items():
            operations.append(CommitOperationAdd(path, checked_source(release, entry)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # what the Hub would like a model card to have
                self._ask(
                    lambda hub: hub.create_commit(
                        self._project.path,
                        operations,
                        commit_message=release.tag,
                        commit_description=description(release),
                        revision=branch,
                        parent_commit=parent,
                    )
                )
        except ValueError as error:
            raise InvalidInput(
                f"{self.location} does not take {CARD_FILE} as its README.md: {' '.join(str(error).split())}"
            ) from error

    # speaking with the Hub

    @cached_property
    def _hub(self) -> Any:
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.utils import disable_progress_bars
        except ImportError as error:
            raise missing_package("huggingface_hub", self.kind, f"Publishing to {self.location}") from error
        disable_progress_bars()
        return HfApi(endpoint=self._project.server, token=self._token or False, library_name="gradatim")

    @cached_property
    def _web(self) -> Web:
        return Web(self.location, self.kind)

    @property
    def _token(self) -> str | None:
        """From the environment, else as ``hf auth login`` left it."""
        try:
            from huggingface_hub import get_token
        except ImportError as error:
            raise missing_package("huggingface_hub", self.kind, f"Publishing to {self.location}") from error
        token: str | None = get_token()
        return token

    def _refs(self, kind: str) -> dict[str, str]:
        """Commits by the name of the branch or tag."""
        refs = self._ask(lambda hub: hub.list_repo_refs(self._project.path))
        return {ref.name: ref.target_commit for ref in getattr(refs, kind)}

    def _tree(self, commit: str) -> dict[str, str]:
        """Git's ids of every file of a commit, by path."""
        found = self._ask(
            lambda hub: list(hub.list_repo_tree(self._project.path, recursive=True, revision=commit))
        )
        return {
            entry.path: entry.blob_id for entry in found if hasattr(entry, "blob_id") and entry.path != _OURS
        }

    def _read(self, commit: str, path: str) -> Iterator[bytes]:
        token = self._token
        response = self._web.send(
            "GET",
            f"{self.location}/resolve/{commit}/{quote(path)}",
            authorization=f"Bearer {token}" if token else None,
            stream=True,
        )
        if response.status_code == 404:
            raise not_the_release(f"{self.location}{_TREE}{commit}", f"{path} is lost.")
        if response.status_code != 200:
            raise self._refused(response.status_code, "")
        return self._web.stream(response)

    def _ask(self, work: Callable[[Any], _Found]) -> _Found:
        """Let the client do something.

        Raises:
            Changed: somebody else was faster.
            EnvironmentLacks: the Hub cannot be reached, or does not let us.
        """
        hub = self._hub
        from huggingface_hub.errors import HfHubHTTPError, HTTPError

        try:
            return work(hub)
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (409, 412):
                raise Changed from None
            if status == 404 and "branch" in str(error.response.url):
                raise Changed from None
            raise self._refused(status, str(error.server_message or "")) from None
        except (HTTPError, OSError, RuntimeError) as error:  # its text may hold a signed address
            raise EnvironmentLacks(
                f"{self.location} cannot be reached ({type(error).__name__}). "
                "Run the same command again when it can: it resumes."
            ) from None

    def _refused(self, status: int, why: str) -> EnvironmentLacks:
        said = f"{status}: {' '.join(why.split())[:300]}" if why else f"{status}"
        if status in (401, 403, 404):
            return EnvironmentLacks(
                f"{self.location} does not let this token do that ({said}). The repository must exist, and {_TOKEN} "
                "must be a token that may write to it."
            )
        return EnvironmentLacks(
            f"{self.location} refuses: {said}. Run the same command again later: it resumes."
        )


def _wanted(release: ReleaseFiles) -> dict[str, FileEntry]:
    """What a commit must hold: the release, and its model card once more where the Hub shows it."""
    wanted = {entry.path: entry for entry in release.entries}
    if CARD_FILE in wanted and _README not in wanted:
        wanted[_README] = wanted[CARD_FILE]
    return wanted


def _is_card(files: Mapping[str, str]) -> bool:
    """Whether the README of a commit is its model card, byte for byte."""
    return _README in files and files[_README] == files.get(CARD_FILE)
