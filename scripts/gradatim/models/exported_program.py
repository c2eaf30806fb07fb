"""What a ``torch.export`` archive says about its graph, before torch makes Python of it.

torch evaluates sizes, executes guards, writes a function out of names and runs it, looks targets up by their path and
imports what a tree of inputs names. So each text in the archive's tables must be of the kind that its key asks for; a
text under any other key is refused.

Sources: ``torch/_export/serde`` (``schema.py``, ``serialize.py``), ``torch/export/_unlift.py``, ``torch/utils/_pytree.py``.
"""

from __future__ import annotations

import keyword
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.files import parse_json
from gradatim.models.expressions import MATH, is_guard, is_size
from gradatim.models.operators import computes

_PATH = re.compile(r"[\w .:<>/+-]*")
_TREES = re.compile(
    r"builtins\.(tuple|list|dict)|collections\.(OrderedDict|namedtuple|deque)|torch\.Size|"
    r"torch\.fx\.immutable_collections\.immutable_(list|dict)"
)
_PURE = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|invert|lshift|rshift|"
    rf"getitem)|{MATH}|torch\.(sym_|_sym_)\w+"
)
_HIGHER_ORDER = re.compile(
    "cond|while_loop|map|map_impl|scan|associative_scan|out_dtype|wrap_with_set_grad_enabled|wrap_with_autocast|"
    "strict_mode|hints_wrapper|invoke_subgraph|flex_attention|auto_functionalized|auto_functionalized_v2|with_effects|checkpoint|tag_activation_checkpoint|wrap|wrap_activation_checkpoint"
)
_NEVER_RUN = {"metadata", "as_string", "as_strings"}
"""Keys below which any text may stand: notes for people, and words that torch quotes."""
_BY_NAME = re.compile(
    "tensor_values|sym_int_values|sym_float_values|sym_bool_values|custom_obj_values|range_constraints|opset_version|config|treespec_namedtuple_fields|as_string_to_argument"
)
"""Keys of tables whose own keys are names that the model's author chose."""


def check_program(torch: Any, path: Path) -> None:
    """Read every table of a ``torch.export`` archive and see that no text in it is code.

    Raises:
        InvalidInput: names the table and the text.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        old = "serialized_exported_program.json" in names  # torch 2.7's and before, in no folder
        for name in names:
            inner = name if old else name.partition("/")[2]
            if not name.endswith(".json") or inner.startswith(("extra/", "extra_files/")):
                continue
            table = parse_json(archive.read(name).decode("utf-8", "replace"), f"{name} in {path}")
            for what, text in _texts(table, torch):
                raise InvalidInput(
                    f"{path} holds {text[:80]!r} in {name} as {what}, which torch would run as Python. Nothing was loaded. Export the "
                    "model again; or, if you trust whoever made it, set `model.allow_pickle: true`."
                )


def _texts(table: Any, torch: Any) -> Iterator[tuple[str, str]]:
    """The texts that are not what their key asks for, each with what it should be."""
    rules = _rules(torch)
    waiting = [("", table)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            for name, each in value.items():
                if not (is_size(name) if key == "range_constraints" else _is_path(name)):
                    yield "a name", name
                if _BY_NAME.fullmatch(key):
                    waiting.append(("", each))
                elif name not in _NEVER_RUN:
                    waiting.append((name, each))
        elif isinstance(value, list):
            waiting += [(key, each) for each in value]
        elif isinstance(value, str):
            what, is_right = rules.get(key, (f"`{key}`", _is_nothing))
            if not is_right(value):
                yield what, value


def _rules(torch: Any) -> dict[str, tuple[str, Callable[[str], bool]]]:
    def is_target(text: str) -> bool:
        if _PURE.fullmatch(text):
            return True
        match = re.fullmatch(r"torch\.ops\.(\w+)\.(\w+)(\.\w+)?", text)
        if match is None:
            return False
        return (
            _HIGHER_ORDER.fullmatch(match[2]) is not None
            if match[1] == "higher_order"
            else computes(torch, match[1], match[2])
        )

    kinds: dict[tuple[str, Callable[[str], bool]], str] = {
        ("an expression", is_size): "expr_str",
        ("a guard", is_guard): "guards_code",
        ("an operator", is_target): "target as_operator",
        ("a tree of inputs", _is_tree): "in_spec out_spec",
        ("a variable", _is_variable): "name as_name user_input_name forward_arg_names field_names",
        ("a path", _is_path): "parameter_name buffer_name tensor_constant_name fqn path_name",
        ("a plain word", _is_path): "type torch_version verifiers",
        ("a number", _is_number): "as_float as_floats as_float_lists real imag",
    }
    return {key: kind for kind, keys in kinds.items() for key in keys.split()}


def _is_variable(text: str) -> bool:
    """What torch writes into Python as a name; an argument that has none is the empty text."""
    return not text or (text.isidentifier() and (not keyword.iskeyword(text) or text == "from"))


def _is_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


def _is_number(text: str) -> bool:
    return text in ("Infinity", "-Infinity", "NaN")


def _is_nothing(_text: str) -> bool:
    return False


def _is_tree(text: str) -> bool:
    """Is it a tree of tuples, lists and dictionaries, with plain keys? Other kinds import what they name."""
    try:
        version, root = parse_json(text, "the tree")
        waiting = [root]
        while waiting:
            node = waiting.pop()
            kind, context = node["type"], node["context"]
            if kind is not None and not (_TREES.fullmatch(kind) and _is_context(context)):
                return False
            waiting += node["children_spec"]
    except (InvalidInput, ValueError, KeyError, TypeError):
        return False
    return isinstance(version, int)


def _is_context(context: Any) -> bool:
    """The keys of a dictionary, the length of a deque, or the registered name of a named tuple."""
    if context is None or not isinstance(context, str) or _is_path(context):
        return isinstance(context, str | None)
    keys = parse_json(context, "the keys")
    return keys is None or all(
        isinstance(key, int) or (isinstance(key, str) and _is_path(key)) for key in keys
    )
