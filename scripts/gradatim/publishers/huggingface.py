"""A model repository of the Hugging Face Hub as the place that releases are published to.

A release is one commit: it is made on a branch of its own, read back, and becomes public by the tag of its version,
which the Hub creates once and never moves. ``main``, which people load who name no version, then gets the same files
in one commit, unless the release is a pre-release or ``main`` is as new already. The model card is its ``README.md``.

Source: the Hub's API (https://huggingface.co/.well-known/openapi.json), spoken by its own client, huggingface_hub.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from gradatim.errors import InvalidInput
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.release_record import (
    ATTESTATION_FILES,
    CARD_FILE,
    MANIFEST_FILE,
    RECORD_FILE,
    SIGNATURE_FILE,
    ReleaseRecord,
)
from gradatim.publishers.forge import ProjectPublisher, description
from gradatim.publishers.publisher import Changed, Found, Publication, Wanted
from gradatim.publishers.transfer import checked_source, not_the_release, refused, unreachable
from gradatim.publishers.web import Web
from gradatim.registry.tags import SemVer

_MAIN = "main"
_README = "README.md"
_OURS = ".gitattributes"
"""The Hub's own file, in every commit."""
_Found = TypeVar("_Found")


class _File(NamedTuple):
    """A file in a commit, with git's id of its bytes."""

    commit: str
    path: str
    blob: str


class HuggingFacePublisher(ProjectPublisher):
    """Publishes to a model repository, which must exist: whether it is private is not ours to decide."""

    kind = "huggingface"
    remedy = "Delete that tag"
    server = ("HF_ENDPOINT", "https://huggingface.co")
    below = "/tree/"

    @property
    def may_write(self) -> bool:
        return self._token is not None

    def names(self, release: ReleaseFiles) -> dict[str, FileEntry]:
        """See ``Publisher.names``: the release, and its model card once more where the Hub shows it."""
        wanted = super().names(release)
        if CARD_FILE in wanted and _README not in wanted:
            wanted[_README] = wanted[CARD_FILE]
        return wanted

    def save(self, files: Found, into: Path) -> None:
        again = _is_card(files) and _README not in self._listed(files)
        super().save({name: file for name, file in files.items() if not (again and name == _README)}, into)

    # what publishing is made of

    def public(self, publication: Publication) -> Found | None:
        commit = self._refs("tags").get(self.tag(publication))
        return None if commit is None else self._files(commit)

    def begin(self, release: ReleaseFiles) -> str:
        branch = _branch(release)
        if branch not in self._refs("branches"):
            self._ask(lambda hub: hub.create_branch(self.project.path, branch=branch, exist_ok=True))
        return branch

    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        return self._files(self._head(place))

    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        """See ``Publisher.put``: in one commit, on the one whose files are stale."""
        if not missing and not stale:
            return {}
        head = next((file.commit for file in stale.values()), None) or self._head(place)
        self._commit(place, head, release, missing, stale.keys() - missing.keys())
        return self.drafted(place, release)

    def reveal(self, place: str, release: ReleaseFiles) -> None:
        head = self._head(place)
        self._ask(lambda hub: hub.create_tag(self.project.path, tag=release.tag, revision=head))

    def tidy(self, release: ReleaseFiles) -> None:
        self._lead(release)
        self.clear(_branch(release), release)

    def clear(self, place: str, release: ReleaseFiles) -> None:
        """See ``Publisher.clear``. What was uploaded and is in no commit is the Hub's to collect."""
        if place in self._refs("branches"):
            self._ask(lambda hub: hub.delete_branch(self.project.path, branch=place))

    def _lead(self, release: ReleaseFiles) -> None:
        """Let ``main`` hold the newest final release. Files that no release brought stay, an edited README too."""
        version = SemVer.parse(release.record.version)
        head = self._refs("branches").get(_MAIN)
        if version.prerelease or head is None:
            return
        there = self._files(head)
        before = self._listed(there)
        if RECORD_FILE in there:
            record = ReleaseRecord.from_bytes(b"".join(self.read(there[RECORD_FILE])))
            if record.name != release.record.name or SemVer.parse(record.version) >= version:
                return
        wanted = self.names(release)
        if _README in there and not _is_card(there) and _README not in before:
            wanted.pop(_README, None)
        self._commit(_MAIN, head, release, wanted, (before & there.keys()) - wanted.keys())

    def _listed(self, there: Mapping[str, _File]) -> set[str]:
        """The files that the release in a commit names; none where there is no release."""
        if RECORD_FILE not in there or MANIFEST_FILE not in there:
            return set()
        record = ReleaseRecord.from_bytes(b"".join(self.read(there[RECORD_FILE])))
        manifest = Manifest.from_bytes(b"".join(self.read(there[MANIFEST_FILE])))
        return {
            SIGNATURE_FILE,
            *ATTESTATION_FILES,
            *(entry.path for entry in (*record.files, *manifest.files)),
        }

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
                        self.project.path,
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
        package = self.package("huggingface_hub")
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        return package.HfApi(
            endpoint=self.project.server, token=self._token or False, library_name="gradatim"
        )

    @cached_property
    def _web(self) -> Web:
        return Web(self)

    @property
    def _token(self) -> str | None:
        """From the environment, else as ``hf auth login`` left it."""
        token: str | None = self.package("huggingface_hub").get_token()
        return token

    def _refs(self, kind: str) -> dict[str, str]:
        """Commits by the name of the branch or tag."""
        refs = self._ask(lambda hub: hub.list_repo_refs(self.project.path))
        return {ref.name: ref.target_commit for ref in getattr(refs, kind)}

    def _head(self, branch: str) -> str:
        """The newest commit of a branch that should be there."""
        commit = self._refs("branches").get(branch)
        if commit is None:
            raise Changed
        return commit

    def _files(self, commit: str) -> dict[str, _File]:
        """Every file of a commit."""
        found = self._ask(
            lambda hub: list(hub.list_repo_tree(self.project.path, recursive=True, revision=commit))
        )
        files = (_File(commit, entry.path, entry.blob_id) for entry in found if hasattr(entry, "blob_id"))
        return {file.path: file for file in files if file.path != _OURS}

    def read(self, file: _File) -> Iterator[bytes]:
        token = self._token
        response = self._web.send(
            "GET",
            f"{self.location}/resolve/{file.commit}/{quote(file.path)}",
            authorization=f"Bearer {token}" if token else None,
            stream=True,
        )
        if response.status_code == 404:
            raise not_the_release(f"{self.location}{self.below}{file.commit}", f"{file.path} is lost.")
        return self._web.stream(self._web.accepted(response, 200))

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
            raise refused(self.location, status, str(error.server_message or ""), self.access) from None
        except (HTTPError, OSError, RuntimeError) as error:  # its text may hold a signed address
            raise unreachable(self.location, type(error).__name__) from None


def _branch(release: ReleaseFiles) -> str:
    """Where exactly this release is drafted."""
    return f"gradatim-draft-{release.record.digest[:16]}"


def _is_card(files: Mapping[str, _File]) -> bool:
    """Whether the README of a commit is its model card, byte for byte."""
    return {_README, CARD_FILE} <= files.keys() and files[_README].blob == files[CARD_FILE].blob
