"""The import of torch, followed by the card's kernels."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class TorchWithCard(importlib.abc.MetaPathFinder):
    """Finds torch where Python does, with a loader that puts the kernels in afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == "torch" else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(self, spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, finder: TorchWithCard, real: importlib.abc.Loader):
        self.finder, self.real = finder, real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.real.exec_module(module)
        sys.meta_path.remove(self.finder)
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.real
        from .kernels import insert

        insert()
