"""The arithmetic of sizes in a ``torch.export`` program, which torch hands to ``eval`` and ``exec``: is it no more than that?

Sources: sympy's ``srepr``, which writes sizes; ``torch.utils._sympy.printers.PythonPrinter``, which writes guards.
"""

from __future__ import annotations

import ast
import re

_LONGEST = 100_000
_DEEPEST = 100
_LARGEST = 1 << 64
_STEEPEST = 64
_MOST_COMPARED = 20
_TEXT = re.compile(r"[\w .,()\[\]'<>=!+*/%&|~-]*", re.ASCII)
_SYMBOL = re.compile(r"[A-Za-z_]{1,20}\d{1,6}", re.ASCII)
_PLAIN = re.compile(r"[\w .-]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?[\d.]{1,40}(e[+-]?\d{1,3})?|[+-]?inf|nan")

_CONSTANTS = {"oo", "int_oo", "zoo", "nan", "true", "false", "inf"}
_POWERS = {"Pow", "PowByNatural", "FloatPow", "LShift", "RShift", "RoundDecimal", "round"}
_SIZES = re.compile(
    "Pow|PowByNatural|FloatPow|LShift|RShift|Abs|Add|And|CeilDiv|CeilToInt|CleanDiv|Eq|Equality|ExprCondPair|FloatTrueDiv|FloorDiv|FloorToInt|Ge|GreaterThan|Gt|"
    "Identity|IntTrueDiv|Integer|IsNonOverlappingAndDenseIndicator|Le|LessThan|Lt|Max|Min|Mod|ModularIndexing|Mul|Ne|Not|"
    "Or|Piecewise|PythonMod|Rational|RoundDecimal|RoundToInt|StrictGreaterThan|StrictLessThan|ToFloat|TruncToFloat|TruncToInt|Unequality|Where|ceiling|floor|sqrt|OpaqueUnaryFn_\\w+"
)
_ASSUMED = {"integer", "positive", "nonnegative", "nonzero", "negative", "nonpositive", "real", "finite"}
_GUARDS = re.compile(
    "abs|bool|float|int|max|min|round|sum|IsNonOverlappingAndDenseIndicator|cast_symbool_to_symint_guardless"
)
MATH = r"math\.(a?(sin|cos|tan)h?|ceil|floor|trunc|sqrt|exp|log|log2|log10|pow|fabs|inf|nan)"
_MODULES = re.compile(rf"{MATH}|torch\.(sym_\w+|_sym_\w+)")
_ASKED = {"size", "stride", "storage_offset", "dim", "numel", "item"}
_OPERATORS = (ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.expr_context)
_NO_OPERATORS = (ast.MatMult, ast.In, ast.NotIn)


def is_size(text: str) -> bool:
    """Is it a size as torch.export writes it, such as ``Mul(Integer(2), Symbol('s0', integer=True))`` or ``2*s0``?

    Symbols, numbers, comparisons and a list of functions; powers too small to fill a memory.
    """
    return _is_made_of(text, _is_part_of_size)


def is_guard(text: str) -> bool:
    """Is it a condition on the sizes of inputs as torch.export writes it, such as ``L['x'].size()[1] == 6``?"""
    return _is_made_of(text, _is_part_of_guard)


def _is_symbol(text: str) -> bool:
    """Is it the name of a size, such as ``s77``, with a number that can be counted to?"""
    return _SYMBOL.fullmatch(text) is not None


def _is_made_of(text: str, is_part: object) -> bool:
    if len(text) > _LONGEST or not _TEXT.fullmatch(text):
        return False
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    waiting = [(tree, 0, 0)]
    while waiting:
        node, depth, powers = waiting.pop()
        steep = _exponent(node)
        powers += steep is not None
        if depth > _DEEPEST or powers > 2 or not (steep is None or _is_small(steep)):
            return False
        if not is_part(node):  # type: ignore[operator]
            return False
        waiting += [(child, depth + 1, powers) for child in _parts(node)]
    return True


def _parts(node: ast.expr) -> list[ast.expr]:
    """What stands in an expression; of what names something, nothing, since the name was looked at as a whole."""
    if isinstance(node, ast.Call):
        root = node.func.value if isinstance(node.func, ast.Attribute) and node.func.attr in _ASKED else None
        words = isinstance(node.func, ast.Name) and node.func.id in ("Symbol", "Float")
        return [*([root] if root else []), *([] if words else node.args)]
    if _is_of_module(node):
        return []
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _is_part_of_size(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name):
            return False
        if node.func.id in ("Symbol", "Float"):
            return _is_leaf(node, _is_symbol if node.func.id == "Symbol" else _is_number)
        name = node.func.id
        many = name in ("Max", "Min") and len(node.args) > _MOST_COMPARED
        return not node.keywords and not many and _SIZES.fullmatch(name) is not None
    if isinstance(node, ast.Name):
        return node.id in _CONSTANTS or _is_symbol(node.id)
    return _is_arithmetic(node)


def _is_part_of_guard(node: ast.expr) -> bool:
    if any(_is_text(child) and not _may_hold_text(node, child) for child in ast.iter_child_nodes(node)):
        return False
    if isinstance(node, ast.Call):
        known = isinstance(node.func, ast.Name) and _GUARDS.fullmatch(node.func.id) is not None
        asked = isinstance(node.func, ast.Attribute) and node.func.attr in _ASKED
        return not node.keywords and (known or asked or _is_of_module(node.func))
    if isinstance(node, ast.Attribute):
        return not node.attr.startswith("_") or _is_of_module(node)
    if _is_text(node):
        return _PLAIN.fullmatch(node.value) is not None  # type: ignore[attr-defined]
    if isinstance(node, ast.Name):
        return node.id in ("L", "inf")
    return isinstance(node, ast.Subscript | ast.IfExp) or _is_arithmetic(node)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _may_hold_text(node: ast.expr, child: ast.AST) -> bool:
    """Is a text there a key or something to compare with? Anything else could be repeated without end."""
    return isinstance(node, ast.Compare) or (isinstance(node, ast.Subscript) and child is node.slice)


def _is_of_module(node: ast.expr) -> bool:
    """Is it ``math.floor``, ``torch.sym_float`` or the like?"""
    named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return named and _MODULES.fullmatch(f"{node.value.id}.{node.attr}") is not None  # type: ignore[attr-defined]


def _is_arithmetic(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        value = node.value
        return value is None or (isinstance(value, int | float) and abs(value) < _LARGEST)
    operators = [child for child in ast.iter_child_nodes(node) if isinstance(child, _OPERATORS)]
    return isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp) and not any(
        isinstance(operator, _NO_OPERATORS) for operator in operators
    )


def _is_leaf(node: ast.Call, is_word: object) -> bool:
    """``Symbol('s0', positive=True)`` or ``Float('1.5', precision=53)``: one word, and what is assumed of it."""
    word = node.args[0] if len(node.args) == 1 else None
    return (
        isinstance(word, ast.Constant)
        and isinstance(word.value, str)
        and bool(is_word(word.value))  # type: ignore[operator]
        and all(
            isinstance(given.value, ast.Constant)
            and (
                (given.arg in _ASSUMED and isinstance(given.value.value, bool))
                or (given.arg == "precision" and given.value.value in range(1, 1000))
            )
            for given in node.keywords
        )
    )


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _exponent(node: ast.expr) -> ast.expr | None:
    """What something is raised to or shifted by; the node itself where it is raised in some other way."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift | ast.RShift):
        return node.right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _POWERS:
        if node.func.id == "round" and len(node.args) == 1:
            return None
        return node.args[1] if len(node.args) == 2 else node
    return None


def _is_small(node: ast.expr) -> bool:
    """Is it a number of at most ``_STEEPEST``, or a symbol, which has no value yet?"""
    if isinstance(node, ast.UnaryOp):
        return _is_small(node.operand)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "Symbol":
            return True
        return node.func.id in ("Integer", "Rational", "Float") and all(map(_is_small, node.args))
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, str) and _is_number(value):
            value = float(value)
        return isinstance(value, int | float) and abs(value) <= _STEEPEST
    return isinstance(node, ast.Name) and _is_symbol(node.id)
