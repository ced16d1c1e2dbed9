"""What a ComfyUI checkout defines, read from its source: nothing is imported, nothing runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.Try, ast.With, ast.For, ast.While)


class Parameter(NamedTuple):
    """One of a function: how it is passed, and its default as written."""

    name: str
    how: str  # "place", "place or name", "name", "*" or "**"
    default: str | None = None

    def __str__(self) -> str:
        stars = self.how if "*" in self.how else ""
        return f"{stars}{self.name}" + (f"={self.default}" if self.default is not None else "")


class Definition(NamedTuple):
    """What a name stands for. bases: a class's, as written; parameters: None where unknown."""

    kind: str  # "module", "class", "function" or "value"
    parameters: tuple[Parameter, ...] | None = None
    bases: tuple[str, ...] = ()


class Place(NamedTuple):
    """A statement that defines a name, and the module whose names it may use."""

    module: str
    statement: ast.AST


class Checkout:
    """Definitions by their dotted names, such as "comfy.model_patcher.ModelPatcher.clone"."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.find = cache(self._find)
        self._tree = cache(self._parsed)

    def has_module(self, name: str) -> bool:
        """Whether it is a module, or a folder of them, of this checkout."""
        path = self.root.joinpath(*name.split("."))
        return path.with_suffix(".py").is_file() or path.is_dir()

    def _find(self, name: str) -> Definition | None:
        """What a dotted name stands for here, None where nothing does."""
        found = self._locate(name)
        if found is None:
            return None
        statement = found.statement
        if isinstance(statement, ast.Module):
            return Definition("module")
        if isinstance(statement, ast.ClassDef):
            bases = tuple(ast.unparse(base) for base in statement.bases)
            return Definition("class", self._of_class(found), bases)
        if isinstance(statement, Function):
            names = [ast.unparse(it).split(".")[-1] for it in statement.decorator_list]
            kind = "value" if {"property", "cached_property"} & set(names) else "function"
            return Definition(kind, parameters_of(statement) if kind == "function" else None)
        return Definition("value")

    def _parsed(self, module: str) -> ast.Module:
        path = self.root.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return ast.parse(file.read_text(encoding="utf-8"))
        return ast.Module([], [])  # a folder of modules

    def _locate(self, name: str, seen: frozenset[str] = frozenset()) -> Place | None:
        parts = name.split(".")
        if name in seen or not self.has_module(parts[0]):
            return None
        count = 1
        while count < len(parts) and self.has_module(".".join(parts[: count + 1])):
            count += 1
        module = ".".join(parts[:count])
        place: Place | None = Place(module, self._tree(module))
        for part in parts[count:]:
            place = self._member(place, part, seen | {name}) if place else None
        return place

    def _member(self, place: Place, name: str, seen: frozenset[str]) -> Place | None:
        statement = place.statement
        if isinstance(statement, ast.Module):
            return self._in_module(place.module, name, seen)
        if isinstance(statement, ast.ClassDef):
            return self._in_class(place, name, seen)
        if isinstance(statement, ast.Assign) and isinstance(
            statement.value, (ast.Name, ast.Attribute)
        ):  # another name for something
            target = self._resolved(place.module, statement.value, seen)
            return self._member(target, name, seen) if target else None
        return None

    def _in_module(self, module: str, name: str, seen: frozenset[str]) -> Place | None:
        found = None
        for statement in flat(self._tree(module).body):
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                for alias in statement.names:
                    target = imported(self._package(module), statement, alias)
                    if alias.name == "*":
                        found = self._locate(f"{target}.{name}", seen) or found
                    elif (alias.asname or alias.name.split(".")[0]) == name:
                        found = self._locate(target, seen) or found
            elif name in defined_by(statement):
                found = Place(module, statement)
        if found is None and self.has_module(f"{module}.{name}"):
            found = Place(f"{module}.{name}", self._tree(f"{module}.{name}"))
        if found is None and name in ("__file__", "__name__", "__doc__"):
            return Place(module, ast.Pass())  # every module has them
        return found

    def _package(self, module: str) -> str:
        """The package that a module's relative imports begin from."""
        path = self.root.joinpath(*module.split("."))
        return module if path.is_dir() else module.rpartition(".")[0]

    def _in_class(self, place: Place, name: str, seen: frozenset[str]) -> Place | None:
        assert isinstance(place.statement, ast.ClassDef)
        for statement in place.statement.body:
            if name in defined_by(statement):
                return Place(place.module, statement)
        for statement in ast.walk(place.statement):
            if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and any(
                f"self.{name}" == ast.unparse(target) for target in targets_of(statement)
            ):
                return Place(place.module, statement)
        for base in place.statement.bases:
            parent = self._resolved(place.module, base, seen)
            key = f"{place.module}.{place.statement.name}"
            if parent and key not in seen and (found := self._member(parent, name, seen | {key})):
                return found
        return None

    def _resolved(self, module: str, expression: ast.AST, seen: frozenset[str]) -> Place | None:
        """What a name or a dotted name stands for in a module."""
        first, *rest = ast.unparse(expression).split("[")[0].split(".")
        place = self._in_module(module, first, seen)
        for part in rest:
            place = self._member(place, part, seen) if place else None
        return place

    def _of_class(self, place: Place) -> tuple[Parameter, ...] | None:
        """What making an object of a class takes."""
        statement = place.statement
        assert isinstance(statement, ast.ClassDef)
        if any("dataclass" in ast.unparse(it) for it in statement.decorator_list):
            fields = [it for it in statement.body if isinstance(it, ast.AnnAssign)]
            return tuple(
                Parameter(
                    ast.unparse(it.target),
                    "place or name",
                    None if it.value is None else ast.unparse(it.value),
                )
                for it in fields
            )
        made = self._in_class(place, "__init__", frozenset())
        return (
            parameters_of(made.statement) if made and isinstance(made.statement, Function) else None
        )


def flat(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, and those in their blocks that run when a module is imported."""
    for statement in statements:
        yield statement
        if isinstance(statement, BLOCKS):
            for part in ("body", "orelse", "finalbody"):
                yield from flat(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from flat(handler.body)


def defined_by(statement: ast.AST) -> set[str]:
    """The names that a statement gives a meaning to, imports aside."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return {statement.name}
    names = {ast.unparse(target) for target in targets_of(statement)}
    return {name.strip() for target in names for name in target.strip("()").split(",")}


def targets_of(statement: ast.AST) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, (ast.AnnAssign, ast.AugAssign)) else []


def imported(package: str, statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """The dotted name that an import binds; the module, for ``*``."""
    if isinstance(statement, ast.Import):
        return alias.name if alias.asname else alias.name.split(".")[0]
    parts = package.split(".") if statement.level else []
    base = parts[: len(parts) - statement.level + 1]
    base += [statement.module] if statement.module else []
    return ".".join(base if alias.name == "*" else [*base, alias.name])


def parameters_of(function: ast.AST) -> tuple[Parameter, ...]:
    """A function's parameters in order, without self and cls."""
    assert isinstance(function, Function)
    given = function.args
    placed = [(it, "place") for it in given.posonlyargs]
    placed += [(it, "place or name") for it in given.args]
    defaults: list[ast.expr | None] = [None] * (len(placed) - len(given.defaults))
    made = [
        Parameter(it.arg, how, None if value is None else ast.unparse(value))
        for (it, how), value in zip(placed, [*defaults, *given.defaults], strict=True)
    ]
    made += [Parameter(given.vararg.arg, "*")] if given.vararg else []
    made += [
        Parameter(it.arg, "name", None if value is None else ast.unparse(value))
        for it, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    made += [Parameter(given.kwarg.arg, "**")] if given.kwarg else []
    return tuple(it for i, it in enumerate(made) if i or it.name not in ("self", "cls"))
