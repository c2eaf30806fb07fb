"""Which revision of Subversion a commit stands for: the commit's own text says it, and no server is asked.

git-svn ends each message with such a line. gradatim writes the same one into the commits that it makes for revisions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from gradatim.registry.git_process import without_user

_TRAILER = re.compile(r"^git-svn-id: (\S+)@(\d+) ([0-9a-f-]{36})$", re.MULTILINE)


@dataclass(frozen=True)
class Revision:
    """A revision of Subversion, as a commit's ``git-svn-id`` line names it.

    Attributes:
        url: of the folder, escaped; ``^/trunk`` counts from the repository's top.
        number: the revision.
        uuid: the repository's own id.
    """

    url: str
    number: int
    uuid: str

    @classmethod
    def of(cls, text: str) -> Revision | None:
        """The revision that a commit stands for; None when its text names none."""
        found = _TRAILER.findall(text)
        if not found:
            return None
        url, number, uuid = found[-1]
        return cls(url, int(number), uuid)

    @property
    def line(self) -> str:
        """The line that names it."""
        return f"git-svn-id: {self.url}@{self.number} {self.uuid}"

    def path(self, root: str) -> str | None:
        """The folder's path in the repository with that URL; None when it lies elsewhere."""
        for top in ("^", root):
            if self.url.startswith(f"{top}/"):
                return unquote(self.url[len(top) + 1 :])
        return None

    @property
    def told(self) -> dict[str, dict[str, str | int]]:
        """What evidence says of it, by the name of its version control: no name and no password in the address."""
        return {"subversion": {"url": without_user(self.url), "revision": self.number, "uuid": self.uuid}}
