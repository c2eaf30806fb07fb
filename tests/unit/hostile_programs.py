"""PyTorch archives that run code, or write a file, when torch loads or calls them: each leaves the file ``mark``."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile_files import body

CANARY = "a_module_that_leaves_a_mark"
"""A module that a program imports by name; whoever wants to see it fire puts it on the path."""


def save_program(path: Path) -> None:
    """A real export: free sizes, a branch with graphs of its own, a keyword, a size that depends on the data."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 3)

        def forward(self, x, *, scale):  # type: ignore[no-untyped-def]
            y = torch.cond(x.sum() > 0, lambda t: t.sin(), lambda t: t.cos(), (x,))
            n = (x > 0).nonzero().shape[0]
            return {"y": self.linear(y) * scale, "n": torch.ones(n * 2), "flat": x.reshape(x.shape[0] * 2, 2)}

    auto = torch.export.Dim.AUTO
    sizes = {"x": {0: auto}, "scale": None}
    program = torch.export.export(
        Net().eval(), (torch.ones(6, 4),), {"scale": torch.tensor(2.0)}, dynamic_shapes=sizes
    )
    torch.export.save(program, path)


def programs(mark: Callable[[str], str], good: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes for ``torch.export.load`` and a call of what it gives."""
    members = _members(good)
    model = members["models/model.json"].decode()

    def expression(name: str) -> str:
        return f"open({mark(name)!r}, 'w') and Symbol('s77', positive=True, integer=True)"

    def changed(change: Callable[[Any], Any], member: str = "models/model.json") -> bytes:
        document = json.loads(members[member])
        change(document)
        return _archive({**members, member: json.dumps(document).encode()})

    for place in ("sizes", "strides", "sym_int_values", "sym_bool_values", "as_graph"):
        text = expression(place)
        yield place, changed(lambda doc, place=place, text=text: _first_expression(doc, place, text))
    for number, call in enumerate(
        (
            "Function('f')(open({mark}, 'w'))",
            "Symbol(open({mark}, 'w').name)",
            "Max(1, *[open({mark}, 'w') and 1])",
        )
    ):
        name = f"call-{number}"
        text = call.replace("{mark}", repr(mark(name)))
        yield name, changed(lambda doc, text=text: _first_expression(doc, "sizes", text))
    guard = f"open({mark('guard')!r}, 'w')"
    yield "guard", changed(lambda doc: doc["guards_code"].append(guard))

    def signature(doc: Any) -> Any:
        return doc["graph_module"]["module_call_graph"][0]["signature"]

    enum = json.dumps([{"__enum__": True, "fqn": f"{CANARY}:Kind", "name": "A"}, "n", "flat"])
    yield "enum", changed(lambda doc: signature(doc).update(out_spec=_out_spec(signature(doc), enum)))
    yield "factory", changed(lambda doc: signature(doc).update(out_spec=_defaultdict(signature(doc))))
    file = {"name": "filename", "arg": {"as_string": mark("from-file")}, "kind": 1}
    rest = [
        {"name": "shared", "arg": {"as_bool": True}, "kind": 1},
        {"name": "size", "arg": {"as_int": 10}, "kind": 1},
    ]

    def write(doc: Any) -> None:
        found = next(n for n in doc["graph_module"]["graph"]["nodes"] if n["target"].endswith("ones.default"))
        found.update(target="torch.ops.aten.from_file.default", inputs=[file, *rest])

    yield "from-file", changed(write)

    constants = "data/constants/model_constants_config.json"
    for name, prefix in {"opaque": "opaque_obj_", "tensor": "tensor_"}.items():
        config = json.loads(members[constants])
        config["config"]["c"] = {
            "path_name": f"{prefix}0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }
        yield (
            name,
            _archive(
                {
                    **members,
                    constants: json.dumps(config).encode(),
                    f"data/constants/{prefix}0": body(mark(name)),
                }
            ),
        )
    twin = json.loads(model)
    _first_expression(twin, "sizes", expression("twin"))
    yield "twin", _archive({**members, "models/Model.json": json.dumps(twin).encode()})
    other = json.loads(model)
    _first_expression(other, "sizes", expression("other"))
    more = {
        member.replace("model", "other").replace("others/", "models/"): data
        for member, data in members.items()
    }
    yield "other", _archive({**more, **members, "models/other.json": json.dumps(other).encode()})
    hidden = json.loads(model)
    _first_expression(hidden, "sizes", expression("extra"))
    yield "extra", _archive({**members, "models/model.json": json.dumps(hidden).encode()}, "extra/")
    named = json.loads(model)
    _first_expression(named, "sizes", expression("metadata"))
    text = json.dumps(named).replace('"x"', '"metadata"')
    yield "metadata", _archive({**members, "models/model.json": text.encode()})
    old = json.loads(model)
    _first_expression(old, "sizes", expression("old-layout"))
    yield "old-layout", _old_layout(old)


def scripts(mark: Callable[[str], str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes for ``torch.jit.load``, which runs a module's ``__setstate__``."""
    import torch

    class Writes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.path = ""
            self.training = True

        @torch.jit.export
        def __getstate__(self) -> tuple[str, bool]:
            return (self.path, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]) -> None:
            self.path = state[0]
            self.training = torch.from_file(self.path, shared=True, size=10).numel() > 3

        def forward(self, x):  # type: ignore[no-untyped-def]
            return x

    wordings = {
        "plain": "torch.from_file(", "namespace": "ops.aten.from_file(", "asked": 'getattr(torch, "from_file")(',
        "escaped": 'getattr(torch, "from\\137file")(', "alias": "f(", "module": "t.from_file(", "comment": "(torch. # it is\n  from_file)(",
        "spread": "torch  .  from_file  (",
    }  # fmt: skip
    before = {"alias": "f = torch.from_file", "module": "t = torch"}
    for name, wording in wordings.items():
        module = torch.jit.script(Writes())
        module.path = mark(name)
        made = io.BytesIO()
        torch.jit.save(module, made)
        members = _members(made)
        place = next(m for m in members if m.endswith(".py") and b"from_file" in members[m])
        code = members[place].decode()
        line = f"    {before[name]}\n" if name in before else ""
        code = re.sub(
            r"(    _0 = torch\.numel\()torch\.from_file\(path, True, 10\)",
            lambda found, line=line, wording=wording: f"{line}{found[1]}{wording}path, True, 10)",
            code,
        )
        yield name, _archive({**members, place: code.encode()})


def with_expression(good: Path, text: str) -> bytes:
    """A program one of whose sizes is this text."""
    members = _members(good)
    document = json.loads(members["models/model.json"])
    _first_expression(document, "sizes", text)
    return _archive({**members, "models/model.json": json.dumps(document).encode()})


def with_guard(good: Path, text: str) -> bytes:
    """A program with one more condition on its inputs."""
    members = _members(good)
    document = json.loads(members["models/model.json"])
    document["guards_code"].append(text)
    return _archive({**members, "models/model.json": json.dumps(document).encode()})


def with_each_text(good: Path, text: str) -> Iterator[tuple[str, bytes]]:
    """A program with this text as one value, or as one key, of its tables, for each kind of place; the place's last keys."""
    members = _members(good)
    for member in (name for name in members if name.endswith(".json")):
        document = json.loads(members[member])
        seen = set()
        for place, is_key in list(_places(document, ())):
            kind = (is_key, tuple("*" if isinstance(part, int) else part for part in place[-3:]))
            if kind in seen:
                continue
            seen.add(kind)
            changed = json.loads(members[member])
            owner = changed
            for part in place[:-1]:
                owner = owner[part]
            if is_key:
                values = {text if key == place[-1] else key: value for key, value in owner.items()}
                owner.clear()
                owner.update(values)
            else:
                owner[place[-1]] = text
            yield "/".join(map(str, place[-2:])), _archive({**members, member: json.dumps(changed).encode()})


def _places(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], bool]]:
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, dict):
                yield (*place, key), True
            yield from _places(each, (*place, key))
    else:
        yield place, False


def with_text(good: Path, old: bytes, new: bytes) -> bytes:
    """A program with another text in the table of its graph."""
    members = _members(good)
    assert old in members["models/model.json"]
    return _archive({**members, "models/model.json": members["models/model.json"].replace(old, new)})


def with_member(good: bytes, name: str, data: bytes) -> bytes:
    """An archive with one more member."""
    return _archive({**_members(io.BytesIO(good)), name: data})


def _members(path: Path | io.BytesIO) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def _archive(members: dict[str, bytes], root: str = "m/") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{root}{name}", data)
    return file.getvalue()


def _first_expression(document: Any, below: str, text: str) -> None:
    """Put a text where the first expression below a key stands."""
    waiting: list[tuple[Any, bool]] = [(document, False)]
    while waiting:
        value, inside = waiting.pop(0)
        if isinstance(value, dict):
            if inside and "expr_str" in value:
                value["expr_str"] = text
                return
            waiting += [(each, inside or key == below) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(each, inside) for each in value]
    raise AssertionError(f"no expression below {below}")


def _out_spec(signature: Any, context: str) -> str:
    version, spec = json.loads(signature["out_spec"])
    return json.dumps([version, {**spec, "context": context}])


def _defaultdict(signature: Any) -> str:
    version, spec = json.loads(signature["out_spec"])
    context = {
        "default_factory_module": CANARY,
        "default_factory_name": "Kind",
        "dict_context": json.loads(spec["context"]),
    }
    return json.dumps([version, {**spec, "type": "collections.defaultdict", "context": context}])


def _old_layout(document: Any) -> bytes:
    """As torch 2.6 and 2.7 wrote it: no folder, and everything but the graph in a pickle."""
    import torch

    empty = io.BytesIO()
    torch.save({}, empty)
    inputs = io.BytesIO()
    torch.save(((torch.ones(6, 4),), {"scale": torch.tensor(2.0)}), inputs)
    state = io.BytesIO()
    torch.save({"linear.weight": torch.ones(3, 4), "linear.bias": torch.ones(3)}, state)
    members = {
        "version": b"8.20", "serialized_exported_program.json": json.dumps(document).encode(), "serialized_state_dict.pt": state.getvalue(),
        "serialized_constants.pt": empty.getvalue(), "serialized_example_inputs.pt": inputs.getvalue(),
    }  # fmt: skip
    return _archive(members, "")
