"""The search's memory: a JSON line for each attempt, so that an interrupted one goes on where it stood."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.files import canonical_json, parse_json, reading, writing


class Journal:
    """Attempts by their key, which is a digest of everything that they depend on.

    A line that was cut off by a crash is passed over; the attempt is made again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, dict[str, Any]] = {}
        with reading(path):
            written = path.read_bytes() if path.exists() else b""
        for line in written.splitlines():
            try:
                entry = parse_json(line, path.name)
                self._found[entry["key"]] = entry["found"]
            except (InvalidInput, KeyError, TypeError):
                continue

    def get(self, key: str) -> dict[str, Any] | None:
        """What an earlier attempt with this key found."""
        return self._found.get(key)

    def put(self, key: str, found: Mapping[str, Any]) -> None:
        """Write a finished attempt down, on disk before this returns.

        Raises:
            EnvironmentLacks: the journal cannot be written.
        """
        line = canonical_json(json.loads(json.dumps({"key": key, "found": found}))) + b"\n"
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                if file.tell() and not self._ends_in_newline():
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self._found[key] = dict(found)

    def _ends_in_newline(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
