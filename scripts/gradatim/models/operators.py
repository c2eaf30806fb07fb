"""Which of torch's operators only compute, and whether TorchScript's code calls no others.

An operator that takes a text could take the name of a file (``aten::from_file`` and ``aten::save`` write one), so those
count whose texts are known to be something else. Namespaces of operators that open connections, devices or libraries do not.

Sources: the schemas of the installed torch; its lexer and ``ir_emitter.cpp`` for what TorchScript's code can name.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput

_NAMESPACES = re.compile(
    "aten|prim|prims|quantized|_quantized|quantization|quantized_decomposed|sparse|mkldnn|mkldnn_prepacked|onednn|prepacked|xnnpack|torchvision|torchaudio"
)
_CLASSES = {"quantized", "sparse", "rnn", "xnnpack", "mkldnn"}
_TEXTS = re.compile(
    "UPLO|a|activation|algorithm|api_name|approximate|assert_msg|attr|b|binary_attr|binary_post_op|chars|cls|device_type|"
    "dict|driver|el|equation|fillchar|idx|ind|indexing|input|inputs|interpolation|item|key|l|message|mode|msg|new|norm|old|"
    "ord|p|pad_mode|padding|padding_side|post_op_algorithm|post_op_name|reduce|rounding_mode|s|self|separator|side|string|"
    "substr|t|to_add|type|unary_algorithm|unary_attr|unary_post_op|unary_post_op_algorithm|values"
)
"""Names of arguments of text that choose how to compute, or are computed with."""

_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_ASKS = re.compile("getattr\\((\\w+), \u00b7(\\d+)\u00b7\\)")
_REMOTE = {"rpc_async", "rpc_sync", "rpc_remote"}


def computes(torch: Any, namespace: str, name: str) -> bool:
    """Does ``namespace::name`` only compute? One that torch does not know cannot be called, and does."""
    schemas = torch._C._jit_get_schemas_for_operator(f"{namespace}::{name}")
    return _NAMESPACES.fullmatch(namespace) is not None and all(
        _TEXTS.fullmatch(argument.name)
        for schema in schemas
        for argument in schema.arguments
        if re.search(r"\bstr\b", str(argument.type))
    )


def check_script(torch: Any, path: Path) -> None:
    """Look through all code of a TorchScript archive, whose first lines run as it is loaded.

    Raises:
        InvalidInput: it names an operator that does more than compute, or is not written as torch writes it.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".py") and (found := _foreign(torch, archive.read(name).decode())):
                raise InvalidInput(
                    f"{path} is TorchScript whose code {found} ({name}). Whoever loads it could write files by that. Save the "
                    "model as ONNX or .pt2; or, if you trust whoever made it, set `model.allow_pickle: true`."
                )


def _foreign(torch: Any, code: str) -> str | None:
    """What in a piece of code is more than computing, in a few words.

    torch prints code without comments and with double-quoted strings; in such code, with its strings taken out, what
    looks like a name is one.
    """
    strings: list[str] = []

    def take(match: re.Match[str]) -> str:
        strings.append(match[0][1:-1])
        return f"\u00b7{len(strings) - 1}\u00b7"

    bare = re.sub(r" ?\. ?", ".", re.sub(r"\s+", " ", _STRING.sub(take, code)))
    if '"""' in code or "\u00b7" in code or re.search(r"[^\w\s.,:;()\[\]{}=<>!+*/%@&|^~\u00b7-]", bare):
        return "is not written as torch writes it"
    words = set(re.findall(r"\w+", bare))
    if found := words & _REMOTE:
        return f"calls {found.pop()}"
    for namespace, name in re.findall(r"(?<![\w.])ops\b(?! ?:)(?:\.(\w+)\.(\w+))?", bare):
        if not computes(torch, namespace, name):
            return f"calls the operator {namespace}::{name}"
    asked = {(owner, strings[int(place)]) for owner, place in _ASKS.findall(bare)}
    if len(_ASKS.findall(bare)) != len(re.findall(r"\bgetattr\b", bare)) or any(
        owner in ("torch", "ops") or not re.fullmatch(r"\w*", name) for owner, name in asked
    ):
        return "asks for something by a name that is made up"
    for name in {*re.findall(r"\.(\w+)", bare), *(name for _, name in asked)}:
        if not computes(torch, "aten", name):
            return f"calls the operator aten::{name}"
    if found := set(re.findall(r"\btorch\.classes\b(?:\.(\w+))?", bare)) - _CLASSES:
        return f"makes an object of torch.classes.{found.pop()}"
    return None
