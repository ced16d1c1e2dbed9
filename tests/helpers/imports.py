"""Which module and package imports which, read from the source and seen in a process."""

import ast
import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from helpers.small import ROOT, environment

TOPS = sorted(path.parent.name for path in ROOT.glob("[!.]*/__init__.py"))

LOADED = """
import importlib, importlib.util, json, sys
spec = importlib.util.spec_from_file_location("main", sys.argv[1])
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)
before = set(sys.modules)
main.load_pack()
for name in sys.argv[2:]:
    importlib.import_module(f"still_moving.{name}")
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(new - set(sys.stdlib_module_names))))
"""


@cache
def files() -> dict[str, Path]:
    """Every module of the pack by its dotted name below the root."""
    paths = [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
    return {dotted(path): path for path in paths if path.stem != "__main__"}


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str:
    return module if files()[module].name == "__init__.py" else module.rpartition(".")[0]


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(files()[module].read_text(encoding="utf-8"))


def foreign(module: str, tree: ast.AST) -> set[str]:
    """Top-level names that are imported absolutely, wherever in the tree."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names - {"__future__"}


def at_import(module: str) -> ast.Module:
    """A module without the bodies of its functions."""
    outside = [node for node in tree_of(module).body if not isinstance(node, ast.FunctionDef)]
    return ast.Module(body=outside, type_ignores=[])


@cache
def own(module: str) -> frozenset[str]:
    """Modules of the pack that a module imports, wherever in the file."""
    targets = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.level:
            relative = "." * node.level + (node.module or "")
            name = importlib.util.resolve_name(relative, f"_.{package_of(module)}")
            base = name.removeprefix("_").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                targets.add(inner if inner in files() else base)
    return frozenset(targets & set(files()))


def arrows() -> dict[str, set[str]]:
    """Packages to the packages that they import from."""
    graph: dict[str, set[str]] = {}
    for module in files():
        here = package_of(module)
        graph.setdefault(here, set()).update(package_of(target) for target in own(module))
        graph[here].discard(here)
    return graph


def place_of(package: str) -> str:
    text = ast.get_docstring(tree_of(package)) or ""
    return text.rstrip().splitlines()[-1] if text else ""


def packages(*places: str) -> list[str]:
    return [name for name in arrows() if place_of(name) in places]


def modules(*places: str) -> list[str]:
    return [name for name in files() if place_of(package_of(name)) in places]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Names of a way that comes back to where it began; none if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if loop := walk(target, [*way, name]):
                return loop
        done.add(name)
        return []

    return next((loop for name in sorted(graph) if (loop := walk(name, []))), [])


def reached(starts: list[str], graph: dict[str, set[str]]) -> set[str]:
    """Everything that can be imported by these, however far away."""
    there, todo = set(), list(starts)
    while todo:
        name = todo.pop()
        if name not in there:
            there.add(name)
            todo += graph.get(name, ())
    return there


def loaded_by(*names: str) -> set[str]:
    """Top-level packages beyond the standard library that importing these brings in."""
    process = subprocess.run(
        [sys.executable, "-c", LOADED, str(ROOT / "__main__.py"), *names],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    return set(json.loads(process.stdout)) - {"still_moving"}
