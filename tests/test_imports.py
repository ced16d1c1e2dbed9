"""Who may import what, without a list of names: each package says where it runs, and that binds it.

The last line of a package's docstring is one of ``PLACES``. What it says is held against every
import in the package, those inside functions included, and against what is really loaded.
"""

import sys

import pytest

from helpers.imports import (
    TOPS,
    arrows,
    at_import,
    circle,
    files,
    foreign,
    loaded_by,
    modules,
    own,
    package_of,
    packages,
    place_of,
    reached,
    tree_of,
)

STANDARD = "Standard library alone."
TORCH = "Runs anywhere with torch."
LAZY_HOST = "Runs anywhere with torch; ComfyUI only where one is given."
HOST = "Runs in ComfyUI."
WORKER = "Runs in the worker."
COMMAND = "Runs on the command line."
PLACES = (STANDARD, TORCH, LAZY_HOST, HOST, WORKER, COMMAND)
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "nodes", "server", "folder_paths", "execution"}
TRAINER = {"diffusers", "peft", "transformers", "accelerate"}  # seconds to import


@pytest.mark.parametrize("package", arrows())
def test_a_package_says_where_it_runs(package):
    assert place_of(package) in PLACES


def test_no_two_packages_import_each_other_and_nothing_imports_upward():
    assert circle(arrows()) == []


def test_no_module_imports_what_imports_it():
    assert circle({module: set(own(module)) - {module} for module in files()}) == []


def test_a_circle_would_be_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_standard_library_alone_means_it():
    alone = packages(STANDARD)
    assert reached(alone, arrows()) == set(alone)
    for module in modules(STANDARD):
        assert foreign(module, tree_of(module)) <= set(sys.stdlib_module_names), module


@pytest.mark.slow
def test_the_standard_library_alone_is_all_that_is_loaded():
    assert loaded_by(*modules(STANDARD)) == set()


@pytest.mark.parametrize("package", arrows())
def test_only_what_runs_in_comfyui_names_it(package):
    place = place_of(package)
    for module in files():
        if package_of(module) != package or place in (HOST, COMMAND):
            continue
        tree = at_import(module) if place == LAZY_HOST else tree_of(module)
        assert not foreign(module, tree) & COMFYUI, module


def test_comfyui_never_meets_the_worker():
    assert not reached(packages(HOST), arrows()) & set(packages(WORKER, COMMAND))


def test_what_comfyui_reaches_imports_nothing_that_takes_seconds():
    for module in files():
        if package_of(module) in reached(packages(HOST), arrows()):
            assert not foreign(module, at_import(module)) & TRAINER, module


@pytest.mark.parametrize("module", modules(TORCH))
def test_torch_and_safetensors_are_all_that_is_needed(module):
    """What else a function needs, it imports itself, and says so when it is not there."""
    allowed = {"torch", "safetensors", *sys.stdlib_module_names}
    assert foreign(module, at_import(module)) <= allowed


@pytest.mark.slow
def test_what_runs_anywhere_loads_neither_comfyui_nor_the_trainer():
    assert not loaded_by(*modules(TORCH, LAZY_HOST)) & (COMFYUI | TRAINER)


def test_the_worker_imports_no_node():
    assert not reached(packages(WORKER), arrows()) & set(packages(HOST))


@pytest.mark.parametrize("module", files())
def test_imports_inside_the_pack_are_relative(module):
    """The folder can have any name, hyphens included."""
    names = foreign(module, tree_of(module)) - set(sys.stdlib_module_names)
    assert not names & ({*TOPS, "tests", "still_moving"} - COMFYUI)
