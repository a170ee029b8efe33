"""Mutants of a source file: every place where one small change makes other mathematics of it."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Mutant", "mutants"]

_OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
_PAIRS = [
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("clamp_min", "clamp_max"),
    ("sum", "mean"),
    ("cumsum", "cumprod"),
    ("std", "var"),
    ("exp", "log"),
    ("log1p", "log"),
    ("expm1", "exp"),
    ("sin", "cos"),
    ("tanh", "sigmoid"),
    ("sqrt", "square"),
    ("rsqrt", "sqrt"),
    ("softmax", "log_softmax"),
    ("floor", "ceil"),
    ("tril", "triu"),
    ("any", "all"),
    ("zeros_like", "ones_like"),
    ("new_zeros", "new_ones"),
    ("zeros", "ones"),
]
_RENAMED: dict[str, tuple[str, ...]] = {}
for _one, _other in _PAIRS:
    _RENAMED[_one] = (*_RENAMED.get(_one, ()), _other)
    _RENAMED[_other] = (*_RENAMED.get(_other, ()), _one)
# Methods that may be left out: ``x.detach()`` becomes ``x``.
_DROPPED = {
    "detach",
    "sqrt",
    "square",
    "abs",
    "exp",
    "log",
    "transpose",
    "t",
    "clamp_min",
    "clamp",
    "clamp_max",
    "flip",
}
_TRANSPOSED = {"T", "mT"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: path below the root, with slashes.
        line: line of the change, from 1.
        end: its last line.
        kind: name of the change.
        start, stop: offsets of the characters that are replaced.
        old: their text.
        new: the text in their place.
        occurrence: how many equal changes of equal lines come before it in the file.
        context: the line, stripped.
    """

    file: str
    line: int
    end: int
    kind: str
    start: int
    stop: int
    old: str
    new: str
    context: str
    occurrence: int = 0

    @property
    def key(self) -> str:
        """Name that survives changes elsewhere in the file."""
        text = "\n".join((self.file, self.context, self.old, self.new, str(self.occurrence)))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def apply(self, source: str) -> str:
        """Return the source with the change."""
        return source[: self.start] + self.new + source[self.stop :]

    def diff(self, source: str) -> str:
        """Return the lines before and after, marked with ``-`` and ``+``."""
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.stop)
        last = len(source) if last < 0 else last
        old, new = source[first:last], source[first : self.start] + self.new + source[self.stop : last]
        return "\n".join([f"- {line}" for line in old.split("\n")] + [f"+ {line}" for line in new.split("\n")])


def mutants(source: str, file: str) -> list[Mutant]:
    """Return all mutants of a file, in order of their places."""
    text = _Text(source)
    found: list[Mutant] = []
    seen: dict[tuple[str, ...], int] = {}
    for node in _visit(ast.parse(source)):
        for kind, place, new in _changes(node):
            start, stop = text.span(place)
            old = source[start:stop]
            code = _code(new)
            if code == old or _same(old, code):
                continue
            context = text.lines[place.lineno - 1].strip()
            name = (context, old, code)
            count = seen.get(name, 0)
            seen[name] = count + 1
            last = place.end_lineno or place.lineno
            found.append(Mutant(file, place.lineno, last, kind, start, stop, old, code, context, count))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.stop, mutant.kind, mutant.new))


class _Text:
    """Offsets in a text of the places that the parser names by line and column in bytes."""

    def __init__(self, source: str) -> None:
        self.lines = source.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        characters = self.lines[line - 1].encode()[:column].decode()
        return self.starts[line - 1] + len(characters)


def _same(old: str, new: str) -> bool:
    try:
        return ast.dump(ast.parse(old.strip())) == ast.dump(ast.parse(new))
    except SyntaxError:
        return False


def _code(node: ast.expr | ast.stmt) -> str:
    text = ast.unparse(node)
    negative = isinstance(node, ast.Constant) and text.startswith("-")
    loose = ast.BinOp | ast.BoolOp | ast.Compare | ast.UnaryOp | ast.IfExp
    return f"({text})" if isinstance(node, loose) or negative else text


def _visit(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that compute: no annotations, defaults, decorators, messages, strings, imports or names."""
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom | ast.Assert):
        return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
        return
    yield node
    children: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        children = list(node.body)
    elif isinstance(node, ast.AnnAssign):
        children = [node.value] if node.value is not None else []
    elif isinstance(node, ast.Lambda):
        children = [node.body]
    elif isinstance(node, ast.Call) and _name(node.func) in {"cast", "TypeVar", "value_error", "type_error", "warn"}:
        children = []
    for child in children:
        yield from _visit(child)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


Change = tuple[str, "ast.expr | ast.stmt", "ast.expr | ast.stmt"]


def _changes(node: ast.AST) -> Iterator[Change]:
    """Yield kind, node to be replaced and node in its place."""
    if isinstance(node, ast.BinOp):
        yield from _of_binary(node)
    elif isinstance(node, ast.AugAssign):
        for other in _OPERATORS.get(type(node.op), ()):
            yield "arithmetic", node, _with(node, op=other())
    elif isinstance(node, ast.Compare):
        for position, op in enumerate(node.ops):
            for other in _OPERATORS.get(type(op), ()):
                ops = [*node.ops[:position], other(), *node.ops[position + 1 :]]
                yield "comparison", node, _with(node, ops=ops)
    elif isinstance(node, ast.BoolOp):
        for other in _OPERATORS[type(node.op)]:
            yield "boolean", node, _with(node, op=other())
    elif isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            yield "negation", node, node.operand
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.Attribute):
        if node.attr in _TRANSPOSED:
            yield "transposition", node, node.value
    elif isinstance(node, ast.IfExp):
        yield "branches", node, _with(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.If | ast.While):
        yield "branches", node.test, ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Slice):
        for bound in (node.lower, node.upper):
            if bound is not None and not isinstance(bound, ast.Constant | ast.UnaryOp):
                yield "slice", bound, ast.BinOp(bound, ast.Add(), ast.Constant(1))


def _of_binary(node: ast.BinOp) -> Iterator[Change]:
    if any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right)):
        return
    for other in _OPERATORS.get(type(node.op), ()):
        yield "arithmetic", node, _with(node, op=other())
    if isinstance(node.op, ast.Add | ast.Mult):
        yield "dropped term", node, node.right
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
        yield "dropped term", node, node.left


def _of_constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", node, ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", node, ast.Constant(value + 1)
        yield "constant", node, ast.Constant(value - 1)
    elif isinstance(value, float):
        yield "constant", node, ast.Constant(value + 1.0 if value == 0 else 2 * value)
        yield "constant", node, ast.Constant(-1.0 if value == 0 else -value)


def _of_call(node: ast.Call) -> Iterator[Change]:
    name = _name(node.func)
    for other in _RENAMED.get(name, ()):
        if isinstance(node.func, ast.Attribute):
            yield "function", node.func, _with(node.func, attr=other)
        elif isinstance(node.func, ast.Name) and other in {"min", "max", "any", "all"}:
            yield "function", node.func, ast.Name(other)
    if isinstance(node.func, ast.Attribute) and name in _DROPPED:
        owner = node.func.value
        if ast.unparse(owner) not in {"torch", "math", "F", "np"}:
            yield "detach" if name == "detach" else "dropped call", node, owner
        elif node.args:
            yield "dropped call", node, node.args[0]


def _with(node: ast.AST, **fields: object) -> ast.AST:
    fresh = copy.copy(node)
    for name, value in fields.items():
        setattr(fresh, name, value)
    return fresh
