"""From what a tool logged to a ``Lineage``: flattened, masked, thinned, and strict about what cannot be."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, cast

from gradatim.errors import InvalidInput
from gradatim.files import canonical_json
from gradatim.lineage.masking import MASKED, is_secret, without_login
from gradatim.lineage.record import USES, DataUsed, Lineage, LoggedMetric, Parameter, Use

PARAMETERS, METRICS, POINTS, POINTS_OF_ONE = 500, 200, 5000, 100
"""The most that evidence keeps; what is left out is counted in the notes."""

_TEXT = 300
_LIST = 64
_DEPTH = 16
_SEEDS = ("seed", "random_seed", "random_state", "manual_seed")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_DATA = re.compile(r"data\.(?P<name>.+)\.(?P<field>sha256|path|use)")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")
_WORDS: Mapping[Use, frozenset[str]] = {
    "evaluation": frozenset({"test", "eval", "evaluation", "holdout", "heldout", "testing"}),
    "validation": frozenset({"val", "valid", "validation", "dev"}),
}


class LineageDraft:
    """What is known of a training while its record is read.

    Args:
        source: what it is read from, for the reader of a report.
        place: the same for messages: a path.
    """

    def __init__(self, source: str, place: str) -> None:
        self._source, self._place = _one_line(source), place
        self._parameters: dict[str, Any] = {}
        self._data: dict[str, dict[str, str]] = {}
        self._logs: dict[str, list[tuple[int, float | None]]] = {}
        self._environment: dict[str, str] = {}
        self._notes: list[str] = []
        self.seed: int | None = None
        self.commit: str | None = None
        self.started: str | None = None
        self.finished: str | None = None

    def note(self, text: str) -> None:
        """Something that a reader must know."""
        self._notes.append(_one_line(text))

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Parameters, nested or flat; ``data.NAME.sha256`` (``.path``, ``.use``) tells of a data set instead."""
        for name, value in _flat(values, "", self._place):
            match = _DATA.fullmatch(name)
            if match and isinstance(value, str):
                self.data(match["name"], **{match["field"]: value})
            else:
                self._parameters[name] = value

    def data(self, name: str, **fields: str | None) -> None:
        """What is known of a data set: ``sha256``, ``path``, ``use``, ``digest``."""
        known = {key: value for key, value in fields.items() if value}
        self._data.setdefault(_one_line(name), {}).update(known)

    def metric(self, name: str, step: int, value: float | None) -> None:
        """One logged value; None stands for a number that was none."""
        finite = value is not None and math.isfinite(value)
        self._logs.setdefault(_one_line(name), []).append((step, value if finite else None))

    def environment(self, versions: Mapping[str, str]) -> None:
        """Packages and machine."""
        self._environment |= {_one_line(k): without_login(_one_line(v)) for k, v in versions.items()}

    def finish(self) -> Lineage:
        """The lineage.

        Raises:
            InvalidInput: nothing was recorded, or a digest, a path, a commit or a time is malformed.
        """
        seed = self.seed if self.seed is not None else self._seed()
        data = {name: self._used(name, fields) for name, fields in sorted(self._data.items())}
        metrics = self._metrics()
        parameters = self._masked(self._capped(self._parameters, PARAMETERS, "parameters"))
        if not (data or metrics or parameters or seed is not None or self._environment):
            raise InvalidInput(
                f"{self._place} records nothing: no parameter, data set, metric or seed. Let training write them."
            )
        return Lineage(
            self._source,
            parameters,
            data,
            metrics,
            seed,
            self._commit(),
            dict(sorted(self._environment.items())),
            self._time(self.started),
            self._time(self.finished),
            tuple(self._notes),
        )

    def _seed(self) -> int | None:
        for name in _SEEDS:
            for key, value in self._parameters.items():
                whole = isinstance(value, float) and value.is_integer()
                written = isinstance(value, str) and value.isdigit()
                if key.rsplit(".", 1)[-1] == name and (type(value) is int or whole or written):
                    return int(value)
        return None

    def _capped(self, found: Mapping[str, Any], limit: int, what: str) -> dict[str, Any]:
        names = sorted(found)
        if len(names) > limit:
            self.note(
                f"{len(names) - limit} of {len(names)} {what} are left out: the first {limit} by name are kept"
            )
        return {name: found[name] for name in names[:limit]}

    def _masked(self, found: Mapping[str, Any]) -> dict[str, Parameter]:
        masked = [name for name, value in found.items() if is_secret(name, value)]
        if masked:
            self.note(f"masked, since it looks like a secret: {', '.join(masked)}")
        return {
            name: MASKED if name in masked else without_login(value) if isinstance(value, str) else value
            for name, value in found.items()
        }

    def _metrics(self) -> dict[str, LoggedMetric]:
        kept = self._capped(self._logs, METRICS, "metrics")
        most = max(2, min(POINTS_OF_ONE, POINTS // max(1, len(kept))))
        return {name: _metric(values, most) for name, values in kept.items()}

    def _used(self, name: str, fields: Mapping[str, str]) -> DataUsed:
        where = f"{self._place}: data.{name}"
        use = fields.get("use") or _use_of(name)
        if use not in USES:
            raise InvalidInput(f"{where}.use is {use!r}. Known: {', '.join(USES)}.")
        sha256 = fields.get("sha256")
        match = _SHA256.fullmatch(sha256) if sha256 else None
        if sha256 and not match:
            raise InvalidInput(
                f"{where}.sha256 is {_one_line(sha256)!r}, not the 64 hex digits of a SHA-256. Write what `sha256sum FILE` prints."
            )
        path = fields.get("path")
        return DataUsed(
            cast("Use", use),
            match[1].lower() if match else None,
            _data_path(path, where) if path else None,
            _one_line(fields["digest"]) if "digest" in fields else None,
        )

    def _commit(self) -> str | None:
        if self.commit is not None and not _COMMIT.fullmatch(self.commit):
            raise InvalidInput(
                f"{self._place}: the commit {_one_line(self.commit)!r} is no commit id: 7 to 64 lower-case hex digits."
            )
        return self.commit

    def _time(self, written: str | None) -> str | None:
        if written is None:
            return None
        try:
            return datetime.datetime.fromisoformat(written.replace("Z", "+00:00")).isoformat()
        except ValueError:
            raise InvalidInput(
                f"{self._place}: {_one_line(written)!r} is no time. Write it as 2026-01-31T12:00:00Z."
            ) from None


def at(seconds: float | None) -> str | None:
    """Seconds since 1970 as RFC 3339, in UTC."""
    if not seconds or not math.isfinite(seconds) or not 0 < seconds < 1e11:
        return None
    return datetime.datetime.fromtimestamp(round(seconds), datetime.timezone.utc).isoformat()


def _metric(values: list[tuple[int, float | None]], most: int) -> LoggedMetric:
    by_step = dict(
        sorted(values, key=lambda point: point[0])
    )  # a step that was logged again: the later value
    finite = [(step, _rounded(value)) for step, value in by_step.items() if value is not None]
    last = next(reversed(by_step.values()))
    n = len(finite)
    places = range(n) if n <= most else sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})
    log = tuple(finite[place] for place in places) if n > 1 else ()
    nonfinite = sum(value is None for value in by_step.values())
    return LoggedMetric(None if last is None else _rounded(last), log, len(by_step), nonfinite)


def _rounded(value: float) -> float:
    return float(f"{value:.7g}")  # what a float32 holds: a log in evidence need not be longer


def _flat(values: Mapping[str, Any], prefix: str, place: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > _DEPTH:
        raise InvalidInput(f"{place}: the parameters are nested more than {_DEPTH} deep. Write them flat.")
    for key, value in values.items():
        name = _one_line(f"{prefix}{key}")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.", place, depth + 1)
        else:
            yield name, _plain(value, f"{place}: the parameter {name}")


def _plain(value: Any, where: str) -> Parameter:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, str):
        return _one_line(value)
    if isinstance(value, list | tuple):
        items = list(value)
        if len(items) <= _LIST and not any(isinstance(item, list | tuple | Mapping) for item in items):
            return [_plain(item, where) for item in items]
        try:
            return _one_line(canonical_json(items).decode())
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"{where} is no JSON value: {error}.") from error
    raise InvalidInput(
        f"{where} is a {type(value).__name__}: write text, a number, yes or no, or a list of them."
    )


def _use_of(name: str) -> Use:
    words = re.findall(r"[a-z]+", name.lower())
    return next((use for use, known in _WORDS.items() if known & set(words)), "training")


def _data_path(path: str, where: str) -> str:
    told = without_login(_one_line(path))
    if _ADDRESS.match(told):
        return told
    plain = PurePosixPath(told.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts or re.match(r"[A-Za-z]:", told):
        raise InvalidInput(
            f"{where}.path is {told!r}: a path inside the repository is wanted (relative, without `..`), or an address such as s3://bucket/train.parquet. It is published with the release."
        )
    return plain.as_posix()


def _one_line(text: str) -> str:
    line = _CONTROL.sub(" ", str(text)).strip()
    return line if len(line) <= _TEXT else line[: _TEXT - 1] + "…"


def numbered(values: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """(step, value) of a log that is a plain list of values (steps from 0) or of such pairs."""
    for index, entry in enumerate(values):
        yield (entry[0], entry[1]) if isinstance(entry, list | tuple) else (index, entry)
