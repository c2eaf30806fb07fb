"""`gradatim` without its start: one process has imported everything, and each call is a fork of it.

A test that runs a hundred commands would else wait for a hundred interpreters. ``python -m forked SOCKET`` serves; the shim
that `served` puts on PATH hands over its arguments, folder, variables and standard streams, and ends with the same code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_SHIM = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
    server.connect({address!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(said).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(said)
    sys.exit(server.recv(1)[0])
"""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Path]:
    """A folder for PATH whose ``gradatim`` is answered by forks of one process."""
    address = str(folder / "socket")
    server = subprocess.Popen([sys.executable, "-m", "forked", address], cwd=Path(__file__).parent)
    shim = folder / "bin" / "gradatim"
    shim.parent.mkdir()
    shim.write_text(_SHIM.format(python=sys.executable, address=address))
    shim.chmod(0o755)
    try:
        for _ in range(600):
            if Path(address).exists():
                break
            time.sleep(0.1)
        yield shim.parent
    finally:
        server.terminate()
        server.wait()


def main(address: str) -> None:
    """Import the kit and answer calls until terminated."""
    import gradatim

    for module in pkgutil.walk_packages(gradatim.__path__, "gradatim."):
        if not module.name.endswith(("_worker", "__main__")) and ".subversion" not in module.name:
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    for name in ("onnx", "onnxruntime", "scipy.stats", "jinja2", "rich.progress"):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen()
        while True:
            caller, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                os._exit(_answer(caller))
            caller.close()


def _answer(caller: socket.socket) -> int:
    from gradatim.cli import main as gradatim

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(caller, 8, 3)
    data = b""
    while len(data) < int.from_bytes(length, "big"):
        data += caller.recv(1 << 16)
    arguments, folder, variables = json.loads(data)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["gradatim", *arguments]
    code = 3
    try:
        gradatim()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        caller.sendall(bytes([code]))
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
