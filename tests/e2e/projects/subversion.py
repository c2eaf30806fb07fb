"""A small project in Subversion behind a real ``svnserve`` on loopback, and its checkouts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from projects.repository import Run
from projects.small import DATA, MODEL, PREPROCESSING, columns, surroundings, write_model
from publishing.processes import free_port, server

MISSING = next(
    (name for name in ("svn", "svnserve", "svnmucc", "svnadmin") if shutil.which(name) is None), None
)
"""A program without which these tests cannot run; None when all are here."""

SVN_CONTRACT = """\
model: {name: small, path: model/small.onnx}
data:
  evaluation: data/test.npz
  slices: site
  preprocess: prepare:features
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
benchmark: {rounds: 3}
gates:
  accuracy: {not_worse_than: baseline, by: 5%}
stages:
  beta: {branch: beta}
  production: {branch: trunk}
publish:
  - folder: ../releases
"""


APACHE_MODULES = Path("/usr/lib/apache2/modules")
"""Where ``apt install apache2 libapache2-mod-svn`` puts what Apache loads."""


def svn(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        ["svn", "--non-interactive", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Checkout:
    """A working copy of Subversion, as a user has it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        svn("checkout", "--quiet", url, str(folder))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def svn(self, *arguments: str) -> str:
        return svn(*arguments, cwd=self.folder)

    def commit(self, message: str = "A model") -> None:
        """Commit everything, and update, so that the working copy is of one revision."""
        self.svn(
            "add",
            "--force",
            "--quiet",
            *(p.name for p in self.folder.iterdir() if not p.name.startswith(".")),
        )
        self.svn("commit", "--quiet", "--message", message)
        self.svn("update", "--quiet")

    def lay_down(self, contract: str = SVN_CONTRACT) -> None:
        """Write and commit the project."""
        (self.folder / "model").mkdir(exist_ok=True)
        (self.folder / "data").mkdir()
        write_model(self.folder / MODEL)
        np.savez(self.folder / DATA, **columns())
        self.write("prepare.py", PREPROCESSING)
        self.write("gradatim.yml", contract)
        self.commit()

    def gradatim(self, *arguments: str) -> Run:
        """Run the command line in a process of its own."""
        done = self.start(*arguments)
        out, err = done.communicate(timeout=240)
        return Run(done.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gradatim", *arguments],
            cwd=self.folder, env=surroundings(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip


@contextmanager
def svnserve(folder: Path, settings: str = "anon-access = write\n", like: str | None = None) -> Iterator[str]:
    """A server on loopback for every repository below a folder; gives its URL, that of ``like`` if wanted."""
    config = folder / "svnserve.conf"
    config.write_text(f"[general]\n{settings}")
    port = int(like.rpartition(":")[2]) if like else free_port()
    command = ["svnserve", "--daemon", "--foreground", "--root", str(folder), "--config-file", str(config)]
    with server(
        [*command, "--listen-host", "127.0.0.1", "--listen-port", str(port)], port, folder / "output.log"
    ):
        yield f"svn://127.0.0.1:{port}"


@contextmanager
def apache(folder: Path) -> Iterator[str]:
    """Apache with mod_dav_svn on loopback for every repository below a folder that all may write to; gives its URL.

    Started by root, Apache serves as somebody else.
    """
    port = free_port()
    modules = ("mpm_event", "authz_core", "dav", "dav_svn")
    lines = [
        "ServerName localhost",
        f"Listen 127.0.0.1:{port}",
        f"PidFile {folder}/pid",
        f"ErrorLog {folder}/error.log",
        "User www-data",
        "Group www-data",
        *(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in modules),
        f"<Location /svn>\nDAV svn\nSVNParentPath {folder}\n</Location>\n",
    ]
    (folder / "apache.conf").write_text("\n".join(lines))
    command = ["apache2", "-f", str(folder / "apache.conf"), "-DFOREGROUND"]
    with server(["sh", "-c", 'umask 0; exec "$@"', "apache", *command], port, folder / "output.log"):
        yield f"http://127.0.0.1:{port}/svn"


def make_repository(folder: Path, name: str = "team") -> None:
    """A repository that every user of this machine may write to, with the usual folders at its top."""
    top = (folder / name).as_uri()
    layout = ["svn", "mkdir", "--quiet", "--message", "layout"]
    for command in (
        ["svnadmin", "create", str(folder / name)],
        [*layout, f"{top}/trunk", f"{top}/tags", f"{top}/branches"],
    ):
        subprocess.run(command, check=True, umask=0)
