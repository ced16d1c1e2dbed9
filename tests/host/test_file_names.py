"""Files in subfolders: a workflow that was saved on one system names them on every other."""

import asyncio
import os
from pathlib import Path

import execution
import folder_paths
import pytest

from still_moving.common.errors import UserError
from still_moving.nodes import NODES
from still_moving.nodes.sets.drawn import _files
from still_moving.nodes.sets.folders import resolve_folder
from still_moving.nodes.shared import folders

FOLDERS = (*folders.OURS, folders.CHECKPOINTS, folders.LORAS)
SPELLINGS = ["sub/deep/dog.safetensors", "sub\\deep\\dog.safetensors", "sub\\deep/dog.safetensors"]
OUTSIDE = [
    *("../secret.safetensors", "..\\secret.safetensors", "sub/../../secret.safetensors"),
    *(
        "sub\\..\\..\\secret.safetensors",
        "C:\\secret.safetensors",
        "\\\\host\\share\\secret.safetensors",
    ),
    *("cat.safetensors", "", "sub", 5, ["a", "b", "c"]),
]


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A file in a subfolder of each folder of models, and one outside of them; a file each."""
    (tmp_path / "secret.safetensors").write_text("secret", encoding="utf-8")
    paths = {}
    for name in FOLDERS:
        paths[name] = tmp_path / name / "sub" / "deep" / "dog.safetensors"
        paths[name].parent.mkdir(parents=True)
        paths[name].write_text(name, encoding="utf-8")
        monkeypatch.setitem(
            folder_paths.folder_names_and_paths, name, ([str(tmp_path / name)], {".safetensors"})
        )
        folder_paths.filename_list_cache.pop(name, None)
    yield paths
    for name in FOLDERS:
        folder_paths.filename_list_cache.pop(name, None)


def combos_of_files() -> list[tuple[type, str]]:
    """(node, input) wherever a list holds files of the artist's."""
    listed = os.path.join("sub", "deep", "dog.safetensors")
    found = []
    for node in NODES:
        required, optional = (node.INPUT_TYPES().get(k, {}) for k in ("required", "optional"))
        for name, (_, *more) in {**required, **optional}.items():
            if more and listed in (more[0].get("options") or []):
                found.append((node, name))
    return found


def refusals(node: type, name: str, value: object) -> list[str]:
    """What ComfyUI says against a value of one input, before anything runs."""
    graph = {"1": {"class_type": node.__name__, "inputs": {name: value}}}
    _, errors, _ = asyncio.run(execution.validate_inputs("p", graph, "1", {}))
    return [e["details"] for e in errors if e["extra_info"].get("input_name") == name]


@pytest.mark.every_comfyui
def test_every_list_of_files_takes_both_spellings_and_nothing_outside(planted, monkeypatch):
    monkeypatch.setattr("nodes.NODE_CLASS_MAPPINGS", {node.__name__: node for node in NODES})
    combos = combos_of_files()
    assert len(combos) >= 8
    for node, name in combos:
        for value in SPELLINGS:
            assert refusals(node, name, value) == [], (node, name)
        for value in OUTSIDE:
            if not isinstance(value, list):
                assert refusals(node, name, value) != [], (node, name, value)


@pytest.mark.every_comfyui
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_file_is_found_by_both_and_none_outside(planted, folder):
    for value in SPELLINGS:
        assert folders.path_of(folder, value) == planted[folder]
    for value in OUTSIDE:
        if isinstance(value, str):
            with pytest.raises(UserError, match="no such file"):
                folders.path_of(folder, value)


def test_a_file_with_a_backslash_in_its_name_is_itself(planted):
    if os.sep == "\\":
        pytest.skip("no such name on Windows")
    odd = planted[folders.CHECKPOINTS].parents[2] / "sub\\deep\\dog.safetensors"
    odd.write_text("odd", encoding="utf-8")
    folder_paths.filename_list_cache.clear()
    assert folders.path_of(folders.CHECKPOINTS, odd.name) == odd
    assert folders.path_of(folders.CHECKPOINTS, SPELLINGS[0]) == planted[folders.CHECKPOINTS]


def test_a_set_knows_a_file_by_both(planted):
    assert _files(SPELLINGS[0]) == _files(SPELLINGS[1]) != []


@pytest.mark.parametrize("name", [*SPELLINGS, "none.safetensors", "sub\\none.safetensors"])
def test_no_folder_is_listed_for_a_name(planted, name):
    """The list of ``custom_nodes`` has tens of thousands, and is made anew when one changes."""
    folder_paths.filename_list_cache.clear()
    assert len(_files(name)) == (len(FOLDERS) if name in SPELLINGS else 0)
    assert folder_paths.filename_list_cache == {}


def test_a_folder_of_pictures_too(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    (tmp_path / "dogs" / "best").mkdir(parents=True)
    for text in ("dogs/best", "dogs\\best", f'"{tmp_path / "dogs" / "best"}"'):
        assert resolve_folder(text) == Path(tmp_path) / "dogs" / "best"
    with pytest.raises(UserError, match="no folder"):
        resolve_folder("dogs\\worst")
