"""The pack's source as a table: what is defined where, who calls it, and with what."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef
Binding = ast.Assign | ast.AnnAssign | ast.AugAssign
ANY = object()  # a place of a list that is not told


@dataclass
class Module:
    """A file. names: what its top level binds; imports: a file of the pack, and the name in it.

    foreign: names of other packages.
    """

    path: Path
    tree: ast.Module
    names: dict[str, ast.AST] = field(default_factory=dict)
    imports: dict[str, tuple[Path, str]] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)


class Source:
    """Files of a pack, read once. calls, methods: by the last part of the name."""

    def __init__(self, paths: Iterable[Path]):
        self.modules: dict[Path, Module] = {}
        self.calls: defaultdict[str, list[ast.Call]] = defaultdict(list)
        self.methods: defaultdict[str, list[Function]] = defaultdict(list)
        self.inner: defaultdict[str, list[Function]] = defaultdict(list)  # functions in functions
        self.classes: dict[str, ast.ClassDef] = {}
        self.fields: defaultdict[str, list[ast.AST]] = defaultdict(list)  # what is put on objects
        self.items: defaultdict[str, list[ast.AST]] = defaultdict(list)  # and into tables
        self._above: dict[ast.AST, ast.AST] = {}
        self._module: dict[ast.AST, Module] = {}
        for path in sorted(paths):
            self._read(path.resolve())
        self.callees = cache(self._callees)
        self.bindings = cache(self._bindings)

    def _read(self, path: Path) -> None:
        module = Module(path, ast.parse(path.read_text(encoding="utf-8")))
        self.modules[path] = module
        for statement in module.tree.body:
            if isinstance(statement, Function | ast.ClassDef):
                module.names[statement.name] = statement
            for target, value in assigned(statement):
                if isinstance(target, ast.Name):
                    module.names[target.id] = value
        for node in ast.walk(module.tree):
            self._module[node] = module
            for child in ast.iter_child_nodes(node):
                self._above[child] = node
            self._note(node, module)

    def _note(self, node: ast.AST, module: Module) -> None:
        if isinstance(node, ast.Call):
            self.calls[called(node)].append(node)
        elif isinstance(node, Function):
            above = self._above[node]
            if isinstance(above, ast.ClassDef):
                self.methods[node.name].append(node)
            elif isinstance(above, Function):
                self.inner[node.name].append(node)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    self.items[str(key.value)].append(value)
        elif isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
        elif isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            module.foreign |= {(it.asname or it.name).split(".")[0] for it in node.names}
        elif isinstance(node, ast.ImportFrom):
            folder = module.path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (folder, alias.name)
        for target, value in assigned(node):
            if isinstance(target, ast.Attribute):
                self.fields[target.attr].append(value)
            elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                self.items[str(target.slice.value)].append(value)

    def __contains__(self, node: ast.AST) -> bool:
        return node in self._module

    def module_of(self, node: ast.AST) -> Module:
        return self._module[node]

    def around(self, node: ast.AST, *kinds: type) -> ast.AST | None:
        """The nearest node of these kinds that this one stands in."""
        above = self._above.get(node)
        while above is not None and not isinstance(above, kinds):
            above = self._above.get(above)
        return above

    def function_of(self, node: ast.AST) -> Function | None:
        found = self.around(node, ast.FunctionDef, ast.AsyncFunctionDef)
        return found if isinstance(found, Function) else None

    def top_level(self, module: Module, name: str) -> ast.AST | Module | None:
        """What a name means in a file outside its functions; None for what is not the pack's."""
        if name in module.names:
            return module.names[name]
        if name not in module.imports:
            return None
        folder, there = module.imports[name]
        if inner := self.modules.get(folder / f"{there}.py"):
            return inner
        places = (folder.with_name(f"{folder.name}.py"), folder / "__init__.py")
        other = next((self.modules[it] for it in places if it in self.modules), None)
        return self.top_level(other, there) if other and other is not module else None

    def named(self, file: str, name: str) -> ast.AST:
        """What a name at the top of a file stands for."""
        files = (it for it in self.modules.values() if it.path.name == file)
        return next(it.names[name] for it in files if name in it.names)

    def _callees(self, call: ast.Call) -> tuple[ast.AST, ...]:
        """The pack's functions and classes that a call can mean."""
        module, func = self.module_of(call), call.func
        if isinstance(func, ast.Name):
            found = self.top_level(module, func.id)
            if isinstance(found, Function | ast.ClassDef):
                return (found,)
            return tuple(it for it in self.inner[func.id] if self._module[it] is module)
        if not isinstance(func, ast.Attribute):
            return ()
        owner = func.value.id if isinstance(func.value, ast.Name) else ""
        if isinstance(inside := self.top_level(module, owner), Module):
            found = self.top_level(inside, func.attr)
            return (found,) if isinstance(found, Function | ast.ClassDef) else ()
        if isinstance(first := _first(func), ast.Name) and first.id in module.foreign:
            return ()
        methods = self.methods[func.attr]
        if owner in ("self", "cls"):
            own = self.around(call, ast.ClassDef)
            methods = [it for it in methods if self._above[it] is own] or methods
        return tuple(methods) if len(methods) <= 3 else ()

    def arguments(self, function: Function, name: str) -> list[ast.expr]:
        """What the pack's own calls, and its default, give to a parameter."""
        parameters, owner = function.args, self._above[function]
        names = [it.arg for it in (*parameters.posonlyargs, *parameters.args)]
        bare = any(ast.unparse(it) == "staticmethod" for it in function.decorator_list)
        bound = isinstance(owner, ast.ClassDef) and not bare
        place = names.index(name) - bound if name in names else None
        meant: ast.AST = function
        asked = function.name
        if asked == "__init__" and isinstance(owner, ast.ClassDef):
            meant, asked = owner, owner.name
        calls = [call for call in self.calls[asked] if meant in self.callees(call)]
        given = [given for call in calls if (given := argument(call, name, place))]
        return [*given, *_defaults(function, name)]

    def field_values(self, of: ast.ClassDef, name: str) -> list[ast.expr]:
        """What is given to a dataclass's or named tuple's field where one is made."""
        fields = [
            it.target.id
            for it in of.body
            if isinstance(it, ast.AnnAssign) and isinstance(it.target, ast.Name)
        ]
        if name not in fields:
            return []
        place, calls = fields.index(name), self.calls[of.name]
        return [it for call in calls if (it := argument(call, name, place))]

    def _bindings(self, inside: ast.AST) -> dict[str, list[ast.AST]]:
        """What the names of a function are bound to in it, but for its parameters."""
        found: defaultdict[str, list[ast.AST]] = defaultdict(list)
        for node in ast.walk(inside):
            for target, value in assigned(node):
                if isinstance(target, ast.Name):
                    before = [*found[target.id]] if _adds_text(node) else []
                    found[target.id] += [_sum(it, value) for it in before] or [value]
        return found


def called(call: ast.Call) -> str:
    """The last part of the name that is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _sum(before: Any, added: Any) -> ast.BinOp:
    return ast.BinOp(before, ast.Add(), added)


def _adds_text(node: ast.AST) -> bool:
    """Whether it is a text that is added to a name, and not a list."""
    if not isinstance(node, ast.AugAssign):
        return False
    first = node.value.body if isinstance(node.value, ast.IfExp) else node.value
    return isinstance(first, ast.JoinedStr | ast.Constant)


def _first(node: ast.AST) -> ast.AST:
    """What stands before all dots."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def argument(call: ast.Call, name: str, place: int | None) -> ast.expr | None:
    """What a call gives by name, or by place; where a star hides the place, what has its name."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    before = call.args[: place + 1] if place is not None else []
    if any(isinstance(it, ast.Starred) for it in before):
        named = (it for it in call.args if name in ast.unparse(it).replace(".", " ").split())
        return next(named, None)
    return before[-1] if place is not None and place < len(call.args) else None


def _defaults(function: Function, name: str) -> Iterator[ast.expr]:
    given = function.args
    places = [*given.posonlyargs, *given.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = [
        *zip(places[len(places) - len(given.defaults) :], given.defaults, strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    yield from (default for place, default in pairs if default and place.arg == name)


def assigned(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """(target, value) of a statement or expression that binds names; tuples part by part."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _matched(target, node.value)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        if node.value is not None:
            yield node.target, node.value
    elif isinstance(node, ast.For | ast.comprehension):
        yield from _matched(node.target, _element(node.iter, ANY))
    elif isinstance(node, ast.ExceptHandler) and node.name and node.type:
        yield ast.Name(node.name), node


def _matched(target: ast.AST, value: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    if not isinstance(target, ast.Tuple | ast.List):
        yield target, value
    elif isinstance(value, ast.IfExp):
        yield from _matched(target, value.body)
        yield from _matched(target, value.orelse)
    elif isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
        for part, its in zip(target.elts, value.elts, strict=True):
            yield from _matched(part, its)
    else:
        for place, part in enumerate(target.elts):
            yield from _matched(part, _element(value, place))


def _element(value: ast.AST, place: object) -> ast.Subscript:
    return ast.Subscript(value, ast.Constant(place), ast.Load())  # type: ignore[arg-type]  # ours
