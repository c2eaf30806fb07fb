"""What end-to-end tests share: servers on loopback, and prepared projects, made once for all test processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects.small import CONTRACT, Copy, lay_down, once, prove
from publishing.servers import Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Places to publish to; the servers behind them end with the session."""
    with contextlib.ExitStack() as running:
        yield Servers(tmp_path_factory.mktemp("servers"), running)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the prepared projects; one for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


@pytest.fixture
def small(prepared: Path, tmp_path: Path) -> Copy:
    """A small project, committed and pushed, of which nothing is proven; without compression."""
    plain = "\n".join(line for line in CONTRACT.splitlines() if not line.startswith("compress")) + "\n"
    return Copy(once(prepared, "plain", lambda place: lay_down(place, plain)), tmp_path / "small")


@pytest.fixture
def proven(prepared: Path, tmp_path: Path) -> Copy:
    """A small project of which everything is proven, with compression; nothing is tagged yet."""
    laid = once(prepared, "whole", lambda place: lay_down(place, CONTRACT))
    return Copy(once(prepared, "proven", lambda place: prove(laid, place)), tmp_path / "proven")
