"""A remote that dies at every byte of a release's push: what is left, and how a second run ends.

    python -m pytest tests/bench/test_broken_pushes.py -s
    STRIDE=97 START=5 python -m pytest tests/bench/test_broken_pushes.py -s        # every 97th byte from the fifth on

A proxy before a real `git daemon` passes on so many bytes of one direction, then drops every connection and takes no new one. The
release must then say so in a sentence or be there; run again with the remote back it must be the one release that it would
have been, to the last object, and a third run (after every eighth) writes nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing.processes import free_port, server
from registry_examples import IDENTITY, clone, git, new_repository, release_files

from gradatim.errors import GradatimError
from gradatim.registry.git import Repository
from gradatim.registry.tagging import announce

STRIDE, START = (int(os.environ.get(key, default)) for key, default in (("STRIDE", "1"), ("START", "0")))


class DyingProxy:
    """Passes bytes between clients and a server until so many went one way."""

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.counted = "sent"
        self.passed = 0
        self.left: int | None = None
        self.lock = threading.Lock()
        self.open: list[socket.socket] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def live(self, direction: str, most: int | None) -> None:
        """Start anew: die after so many bytes that clients ``sent`` or ``received``; never where none are given."""
        with self.lock:
            self.counted, self.passed, self.left = direction, 0, most

    @property
    def dead(self) -> bool:
        return self.left is not None and self.passed >= self.left

    def _accept(self) -> None:
        while True:
            client, _ = self.listening.accept()
            if self.dead:
                client.close()
                continue
            there = socket.create_connection(("127.0.0.1", self.upstream))
            with self.lock:
                self.open += [client, there]
            for way, source, target in (("sent", client, there), ("received", there, client)):
                threading.Thread(target=self._pass, args=(way, source, target), daemon=True).start()

    def _pass(self, way: str, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self.lock:
                    if way == self.counted:
                        data = data if self.left is None else data[: max(0, self.left - self.passed)]
                        self.passed += len(data)
                target.sendall(data)
                if self.dead:
                    self._die()
                    return
            target.shutdown(socket.SHUT_WR)

    def _die(self) -> None:
        with self.lock:
            connections, self.open = self.open, []
        for one in connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[DyingProxy]:
    port = free_port()
    command = ["git", "daemon", f"--base-path={tmp_path}", "--export-all", "--enable=receive-pack", "--reuseaddr",
               "--listen=127.0.0.1", f"--port={port}"]  # fmt: skip
    with server(command, port, tmp_path / "daemon.log"):
        yield DyingProxy(port)


def released(place: Path) -> str:
    """What became of releasing v1.0.0: nothing to say, or the first words of why not."""
    files = release_files(place, "v1.0.0", b"weights")
    try:
        announce(Repository.find(place), files.record, files.manifest, files.kept)
    except GradatimError as error:
        return f"exit code {error.exit_code}: {str(error).partition('. ')[0]}"
    return ""


@pytest.mark.timeout(24 * 3600)
@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_remote_that_dies_at_any_byte_of_a_push_leaves_what_a_second_run_completes(
    direction: str,
    proxy: DyingProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("GRADATIM_PATIENCE", "20")
    new_repository(tmp_path / "seed", remote=tmp_path / "remote.git")
    place = clone(tmp_path / "remote.git", tmp_path / "place")
    git(place, "remote", "set-url", "origin", f"git://127.0.0.1:{proxy.port}/remote.git")
    for folder in ("remote.git", "place"):
        shutil.copytree(tmp_path / folder, tmp_path / f"{folder}.before")

    def anew() -> None:
        for folder in ("remote.git", "place"):
            shutil.rmtree(tmp_path / folder)
            shutil.copytree(tmp_path / f"{folder}.before", tmp_path / folder)

    def there() -> dict[str, str]:
        """Every reference of the remote and its object, but for the moment that a stage's tag keeps."""
        refs = Repository.find(tmp_path / "remote.git").local_refs()
        return {ref: "" if "#" in ref else identity for ref, identity in refs.items()}

    def written() -> list[int]:
        return [path.stat().st_mtime_ns for path in (tmp_path / "remote.git").rglob("*")]

    proxy.live(direction, None)
    assert released(place) == ""
    whole, wanted = proxy.passed, there()
    nothing = {ref: identity for ref, identity in wanted.items() if ref.startswith("refs/heads/")}
    told: Counter[str] = Counter()
    for most in range(START, whole, STRIDE):
        anew()
        proxy.live(direction, most)
        said = released(place)
        assert said == "" or said.startswith("exit code 4: "), (most, said)
        told[said or "released"] += 1
        assert there() in (nothing, wanted), (most, said)
        proxy.live(direction, None)
        assert released(place) == "", most
        assert there() == wanted, most
        if told.total() % 8 == 1 or most + STRIDE >= whole:
            sent = written()
            assert released(place) == "", most
            assert written() == sent, most
            print(most, end=" ", flush=True)
    with capsys.disabled():
        print(f"\n{whole} bytes {direction}, cut at every {STRIDE}th:", dict(told))
