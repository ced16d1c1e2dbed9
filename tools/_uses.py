"""Which names of ComfyUI the pack uses, and where, read from the pack's source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ASKS = ("getattr", "hasattr")
NOT_IN_COMFYUI = {"tests", "tools", "benchmarks"}
Scope = dict[str, str]  # names of a file, and the host's dotted names that they stand for


class Use(NamedTuple):
    """A place in the pack. asked: the pack goes on where the name is not there."""

    file: str
    line: int
    asked: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Uses(dict[str, list[Use]]):
    """Places by the dotted names that are used there."""


def uses_of(pack: Path, is_host: Callable[[str], bool]) -> Uses:
    """Every name of the host in a pack's folder. is_host: whether a module of that name is one."""
    found: defaultdict[str, list[Use]] = defaultdict(list)
    for path in sorted(pack.rglob("*.py")):
        parts = path.relative_to(pack).parts
        if parts[0] in NOT_IN_COMFYUI or any(part.startswith(".") for part in parts):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, line, asked in _in_file(tree, is_host):
            found[name].append(Use("/".join(parts), line, asked))
    return Uses(sorted(found.items()))


def _in_file(tree: ast.Module, is_host: Callable[[str], bool]) -> Iterator[tuple[str, int, bool]]:
    scope: Scope = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                if is_host(first):
                    scope[alias.asname or first] = alias.name if alias.asname else first
                    yield alias.name, node.lineno, False
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            for alias in node.names if is_host(module.split(".")[0]) else ():
                scope[alias.asname or alias.name] = f"{module}.{alias.name}"
                yield f"{module}.{alias.name}", node.lineno, False
    if scope:
        yield from _below(tree, scope)


def _below(node: ast.AST, scope: Scope) -> Iterator[tuple[str, int, bool]]:
    """Uses in a statement, with what its parameters and annotations say of names."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        scope = scope | _of_parameters(node, scope)
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        if kind := _class_in(node.annotation, scope):
            scope[node.target.id] = kind
    elif isinstance(node, ast.ClassDef):
        yield from _of_class(node, scope)
    if isinstance(node, ast.Attribute) and (name := dotted(node, scope)):
        yield name, node.lineno, False
        return
    if isinstance(node, ast.Call) and (asked := _asked(node, scope)):
        yield asked, node.lineno, True
    for child in ast.iter_child_nodes(node):
        yield from _below(child, scope)


def dotted(node: ast.AST, scope: Scope) -> str | None:
    """The host's name that an expression of dots stands for, None for any other."""
    if isinstance(node, ast.Name):
        return scope.get(node.id)
    if isinstance(node, ast.Attribute) and (before := dotted(node.value, scope)):
        return f"{before}.{node.attr}"
    return None


def _of_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Scope:
    given = function.args
    annotated = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    kinds = {it.arg: _class_in(it.annotation, scope) for it in annotated if it.annotation}
    known = {name: kind for name, kind in kinds.items() if kind}
    hidden = {it.arg: "" for it in annotated if it.arg in scope and it.arg not in known}
    return known | hidden


def _class_in(annotation: ast.AST, scope: Scope) -> str | None:
    """The host's class that an annotation names, with or without ``| None``."""
    if isinstance(annotation, ast.BinOp):
        return _class_in(annotation.left, scope) or _class_in(annotation.right, scope)
    return dotted(annotation, scope)


def _asked(call: ast.Call, scope: Scope) -> str | None:
    """The name that a getattr with a default, or a hasattr, asks the host for."""
    if not (isinstance(call.func, ast.Name) and call.func.id in ASKS and len(call.args) > 1):
        return None
    owner, name = dotted(call.args[0], scope), call.args[1]
    if owner and isinstance(name, ast.Constant) and isinstance(name.value, str):
        return f"{owner}.{name.value}"
    return None


def _of_class(node: ast.ClassDef, scope: Scope) -> Iterator[tuple[str, int, bool]]:
    """What a class takes from a host's class that it is made from, or puts in its place."""
    own = {it.name for it in node.body if isinstance(it, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for base in node.bases:
        if not (parent := dotted(base, scope)):
            continue
        for name in own:
            yield f"{parent}.{name}", node.lineno, True  # most are the class's own
        for inner in ast.walk(node):
            if (
                isinstance(inner, ast.Attribute)
                and ast.unparse(inner.value) in ("self", "cls")
                and inner.attr not in own
            ):
                yield f"{parent}.{inner.attr}", inner.lineno, True
