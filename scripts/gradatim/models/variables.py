"""Environment variables that libraries look at, set while something of theirs runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager


@contextlib.contextmanager
def variables(**wanted: str) -> Iterator[None]:
    """Set variables inside; whatever they were before they are again afterwards."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def offline() -> AbstractContextManager[None]:
    """Let nothing inside ask the Hub."""
    return variables(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep transformers' warnings and progress bars away from the user's terminal."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
