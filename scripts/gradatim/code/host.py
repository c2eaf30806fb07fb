"""The process that runs the user's functions: ``python -m gradatim.code.host``, started by ``gradatim.code.apart`` alone.

Requests come from gradatim and are pickles; answers are ``wire`` values. What the user's code prints goes to stderr.
"""

from __future__ import annotations

import itertools
import os
import pickle
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from gradatim.code import explaining, load_function
from gradatim.code.wire import Unspeakable, say
from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError

_SIZE = struct.Struct("<Q")
_KINDS = (EnvironmentLacks, UsageError)


class _Host:
    def __init__(self) -> None:
        self.functions: dict[str, Any] = {}
        self.made: dict[int, tuple[Any, Sequence[Any]]] = {}
        self.passes: dict[int, Iterator[Any]] = {}
        self.numbers = itertools.count(1)

    def answer(self, request: Mapping[str, Any]) -> Any:
        reference, root = request["reference"], Path(request["root"])
        if request["do"] == "load":
            self.functions[reference] = found = load_function(reference, root)
            return [str(path) for path in getattr(found, "paths", ())]
        with explaining(reference, root):
            if request["do"] == "call":
                arguments = request["arguments"]
                return self._told(self.functions[reference](*arguments), arguments)
            if request["do"] == "begin":
                made, arguments = self.made[request["made"]]
                if isinstance(made, Iterator):
                    made = self.functions[reference](*arguments)
                rows = iter(made) if hasattr(made, "__iter__") else (made[i] for i in range(len(made)))
                self.passes[number := next(self.numbers)] = rows
                return number
            return list(itertools.islice(self.passes[request["pass"]], request["rows"]))

    def _told(self, value: Any, arguments: Sequence[Any]) -> Any:
        """A value as it is; of a data set that is no mapping and no plain value, what to ask for."""
        plain = value is None or isinstance(value, bool | int | float | str | bytes | Mapping | tuple)
        if plain or hasattr(value, "__array__"):
            return {"value": dict(value) if isinstance(value, Mapping) else value}
        if not hasattr(value, "__iter__") and not hasattr(value, "__getitem__"):
            return {"other": type(value).__name__}
        again = arguments if isinstance(value, Iterator) else ()
        self.made[number := next(self.numbers)] = value, again
        return {"made": number, "length": len(value) if hasattr(value, "__len__") else None}


def main() -> int:
    answers, requests = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = sys.stderr
    host = _Host()
    while head := requests.read(_SIZE.size):
        _serve(host, pickle.loads(requests.read(_SIZE.unpack(head)[0])), answers)  # noqa: S301 (from gradatim)
    return 0


def _serve(host: _Host, request: Mapping[str, Any], answers: BinaryIO) -> None:
    try:
        said: Any = {"said": host.answer(request)}
        say(answers, said)
    except Unspeakable as error:
        text = f"`{request['reference']}` answers with {error}: give numbers, text, arrays, or collections of them."
        say(answers, {"error": "InvalidInput", "text": text})
    except GradatimError as error:
        kind = next((k for k in _KINDS if isinstance(error, k)), InvalidInput)
        say(answers, {"error": kind.__name__, "text": str(error)})


if __name__ == "__main__":
    sys.exit(main())
