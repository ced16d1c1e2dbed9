"""Tests that cannot run here, counted: files that cannot even be imported, by their source."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest


class Unrun(pytest.File):
    """Stands for a test file; each of its functions is a test that skips with the reason."""

    reason: str

    def collect(self):
        for node in ast.parse(self.path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield _Skipped.from_parent(self, name=node.name)


class _Skipped(pytest.Item):
    def runtest(self) -> None:
        assert isinstance(self.parent, Unrun)
        pytest.skip(self.parent.reason)


def collector(reason: str) -> Callable[[Path, pytest.Collector], Unrun | None]:
    """The ``pytest_pycollect_makemodule`` of a conftest.py; without a reason all tests run."""

    def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Unrun | None:
        if not reason:
            return None
        file = Unrun.from_parent(parent, path=module_path)
        file.reason = reason
        return file

    return pytest_pycollect_makemodule
