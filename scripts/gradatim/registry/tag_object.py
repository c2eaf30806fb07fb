"""Make tag objects: annotated tags that no reference names yet, signed where git is set to sign."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gradatim.errors import EnvironmentLacks
from gradatim.registry.git import Repository
from gradatim.registry.git_process import call_git, last_words

IDENTITY = ("gradatim", "gradatim@localhost")
"""Whose name stands on what gradatim records where git knows nobody, as on a bare CI machine."""


def tag_object(repository: Repository, tag: str, commit: str, message: str, date: str) -> str:
    """Make an annotated tag's object, without any reference to it, and return its id.

    The same arguments give the same id, unless ``tag.gpgSign`` asks for a signature.

    Args:
        tag: short name: ``v1.0.0``.
        commit: id of the commit that it marks.
        message: ends with a newline.
        date: git's raw form, ``1700000000 +0100``.

    Raises:
        EnvironmentLacks: a signature is wanted and git cannot make it.
    """
    name, email = identity(repository)
    if repository.setting("tag.gpgSign") in ("true", "1", "yes", "on"):
        return _signed_tag(repository, tag, commit, message, date, name, email)
    content = f"object {commit}\ntype commit\ntag {tag}\ntagger {name} <{email}> {date}\n\n{message}"
    return os.fsdecode(repository.run("mktag", "--strict", stdin=content.encode())).strip()


def identity(repository: Repository) -> tuple[str, str]:
    """Name and e-mail for what is recorded: git's own when set, else gradatim's."""
    name = (
        os.environ.get("GIT_COMMITTER_NAME")
        or repository.setting("committer.name")
        or repository.setting("user.name")
    )
    email = (
        os.environ.get("GIT_COMMITTER_EMAIL")
        or repository.setting("committer.email")
        or repository.setting("user.email")
    )
    if not name or not email:
        return IDENTITY
    return _plain(name), _plain(email)


def _signed_tag(
    repository: Repository, tag: str, commit: str, message: str, date: str, name: str, email: str
) -> str:
    # In a throw-away repository that borrows this one's objects: a crash leaves no local tag behind.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gradatim-") as folder:
        store = Path(folder) / "git"
        made = call_git(["init", "--quiet", "--bare", str(store)])
        if made.returncode != 0:
            raise EnvironmentLacks(f"git cannot prepare a signature: {last_words(made.stderr)}.")
        (store / "objects" / "info" / "alternates").write_text(f"{repository.git_dir / 'objects'}\n")
        include = ["-c", f"include.path={repository.git_dir / 'config'}"]
        author = {
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
            "GIT_COMMITTER_DATE": f"@{date}",
        }
        place = ["--git-dir", str(store)]
        command = [*place, *include, "tag", "--sign", "--cleanup=verbatim", "--file=-", tag, commit]
        result = call_git(command, stdin=message.encode(), environment=author)
        if result.returncode != 0:
            raise EnvironmentLacks(
                f"git could not sign the tag {tag}: {last_words(result.stderr)}. `tag.gpgSign` asks "
                "for a signature: set `user.signingKey`, or switch it off: git config tag.gpgSign false"
            )
        content = call_git([*place, "cat-file", "tag", f"refs/tags/{tag}"]).stdout
    return os.fsdecode(repository.run("hash-object", "-t", "tag", "-w", "--stdin", stdin=content)).strip()


def _plain(text: str) -> str:
    return re.sub(r"[<>\n\0]", "", text).strip() or IDENTITY[0]
