"""What differs between two ComfyUI checkouts, told from their source: two made up, two real."""

import os
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD = {
    "comfy/patcher.py": """
        class Base:
            def load(self, device): ...
        class Patcher(Base):
            weights = {}
            def __init__(self, model, size=0): self.model = model
            def clone(self): ...
            def patch(self, key, strength=1.0): ...
            def kept(self): self.made_later = 1
        class Handler:
            def execute(self, model, x): ...
    """,
    "comfy/utils.py": """
        try:
            from .fast import quick
        except ImportError:
            def quick(x): ...
        def gone(x): ...
        def turned(a, b): ...
        def moved(a): ...
        LIMIT = 3
    """,
    "comfy/fast.py": "def quick(x): ...",
    "comfy_api/latest/__init__.py": "from . import _io as io",
    "comfy_api/latest/_io.py": """
        class Int:
            class Input:
                def __init__(self, id, default=None): ...
    """,
    "folder_paths.py": "def get(name): ...",
}
NEW = OLD | {
    "comfy/patcher.py": """
        class Base:
            def load(self, device, force=False): ...
        class Other: ...
        class Patcher(Base, Other):
            weights = {}
            def __init__(self, model, size=0, *, dynamic): self.model = model
            def clone(self, deep=False): ...
            def patch(self, key, strength=0.5): ...
            @property
            def kept(self): ...
            def fresh(self): ...
        class Handler:
            def execute(self, model, x, options): ...
    """,
    "comfy/utils.py": """
        from comfy.fast import *
        from comfy.elsewhere import moved as moved
        def turned(b, a): ...
        LIMIT = 4
    """,
    "comfy/elsewhere.py": "def moved(a): ...",
    "comfy_api/latest/_io.py": """
        class Input:
            def __init__(self, id, default=None, advanced=None): ...
        class Int:
            class Input(Input): ...
    """,
}
PACK = {
    "nodes/it.py": """
        import comfy.utils
        import folder_paths
        from comfy.patcher import Handler, Patcher
        from comfy_api.latest import io
        import os
        def run(model: Patcher | None):
            clone = model.clone()
            model.patch("a"), model.load(1), model.kept, model.made_later
            getattr(model, "fresh", None)
            comfy.utils.quick(1), comfy.utils.gone(2), comfy.utils.LIMIT.bit_length()
            comfy.utils.turned(1, 2), comfy.utils.moved(1), comfy.utils.never(1)
            folder_paths.get("a"), os.path.join("a")
            return io.Int.Input("a"), Patcher(model, 1)
        class Mine(Handler):
            def execute(self, model, x): ...
            def own(self): ...
    """,
    "tests/test_it.py": "import comfy.utils\ncomfy.utils.only_in_tests",
}


@pytest.fixture
def tools(monkeypatch):
    """The script and what it is made of."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import _checkout
    import host_changes

    return host_changes, _checkout.Checkout


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text), encoding="utf-8")
    return folder


@pytest.fixture
def report(tools, tmp_path):
    script, checkout = tools
    folders = [written(tmp_path / name, files) for name, files in (("old", OLD), ("new", NEW))]
    return script.compare(written(tmp_path / "pack", PACK), *map(checkout, folders))


def test_every_change_is_told_once_and_nothing_else(report):
    assert {it.name: it.what for it in report.changed} == {
        "comfy.patcher.Handler.execute": ["new parameter options"],
        "comfy.patcher.Patcher": ["bases: Base -> Base, Other", "new parameter dynamic"],
        "comfy.patcher.Patcher.clone": ["new parameter deep=False"],
        "comfy.patcher.Patcher.kept": ["was a function, is a value"],
        "comfy.patcher.Patcher.load": ["new parameter force=False"],
        "comfy.patcher.Patcher.patch": ["default of strength: 1.0 -> 0.5"],
        "comfy.utils.turned": ["order: a, b -> b, a"],
        "comfy_api.latest.io.Int.Input": ["bases: none -> Input", "new parameter advanced=None"],
    }
    assert {it.name for it in report.gone} == {
        "comfy.utils.gone",
        "comfy.patcher.Patcher.made_later",
    }
    assert [it.name for it in report.new] == ["comfy.patcher.Patcher.fresh"]
    assert report.unknown == ["comfy.utils.never"]


def test_the_report_shows_where_the_pack_uses_it(report):
    assert "comfy.utils.gone  (nodes/it.py:11)" in str(report)
    assert "only_in_tests" not in str(report)


def test_two_equal_checkouts_differ_in_nothing(tools, tmp_path):
    script, checkout = tools
    place = written(tmp_path / "old", OLD)
    same = script.compare(
        written(tmp_path / "pack", PACK), checkout(place), checkout(written(tmp_path / "b", OLD))
    )
    assert (same.gone, same.changed, same.new) == ([], [], [])


def test_between_the_oldest_and_the_newest_host(tools):
    home = Path.home() / "comfy"
    new = Path(os.environ.get("COMFYUI_PATH") or home / "ComfyUI")
    old = Path(os.environ.get("COMFYUI_OLD_PATH") or home / "ComfyUI-0.3.64")
    for place in (old, new):
        if not (place / "comfy" / "sd.py").is_file():
            pytest.skip("no ComfyUI found: set COMFYUI_PATH and COMFYUI_OLD_PATH to checkouts")
    script, checkout = tools
    report = script.compare(ROOT, checkout(old), checkout(new))
    if old.samefile(new):
        assert not report.changed
        return
    # The pack works on both, so nothing that it needs is gone, and every name is found.
    assert report.gone == []
    assert report.unknown == []
    changed = {it.name: it.what for it in report.changed}
    assert "parameter scaled_fp8=None is gone" in changed["comfy.ops.pick_operations"]
    clone = changed["comfy.model_patcher.ModelPatcher.clone"]
    assert "new parameter disable_dynamic=False" in clone
    assert "comfy.model_patcher.CoreModelPatcher" in {it.name for it in report.new}
