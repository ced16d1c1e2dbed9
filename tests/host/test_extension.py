"""The pack as ComfyUI starts it: what it registers, what it costs, what it shows."""

import json
import re
import subprocess
import sys
import urllib.request

import pytest

from helpers.host.examples import NAMES, picture
from helpers.host.live import ROOT
from still_moving.nodes import NODES
from still_moving.nodes.shared import folders

pytestmark = pytest.mark.every_comfyui

folders.register()  # the nodes list its files
IDS = {node.GET_SCHEMA().node_id for node in NODES}


@pytest.fixture(scope="module")
def described(server) -> dict:
    """What ComfyUI tells its frontend of our nodes, by id."""
    return {name: node for name, node in server.get("/object_info").items() if name in IDS}


@pytest.fixture(scope="module")
def start_up(comfyui) -> dict:
    """One measured start of the pack, in a process of its own."""
    command = [sys.executable, ROOT / "benchmarks", "host.startup", "--comfyui", comfyui, "--once"]
    finished = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_starting_imports_nothing_that_the_host_did_not(start_up):
    assert start_up["loaded"]
    assert set(start_up["nodes"]) == IDS
    assert start_up["packages"] == []  # diffusers, peft and matplotlib take seconds
    assert start_up["modules_of_torch"] == []


def test_the_server_starts_with_every_node(server, described):
    log = server.log.read_text(errors="replace", encoding="utf-8")
    assert "Error while calling comfy_entrypoint" not in log
    assert not re.search(r"IMPORT FAILED.*StillMoving", log), log
    assert re.search(r"[\d.]+ seconds: .*ComfyUI-StillMoving", log), log
    assert set(described) == IDS


def test_every_node_and_input_says_what_it_does(described):
    for name, node in described.items():
        assert node["category"] == "Still-Moving"
        assert node["description"], name
        for kind in ("required", "optional"):
            for socket, (_, options) in node["input"].get(kind, {}).items():
                assert options.get("tooltip"), f"{name}.{socket}"


def test_the_demo_files_are_offered_by_name(described):
    offered = described["StillMovingLoadMotionModule"]["input"]["required"]["file"]
    choices = offered[0] if isinstance(offered[0], list) else offered[1]["options"]
    assert "demo: shapes_motion_module.safetensors" in choices


def test_the_templates_browser_lists_the_workflows_with_their_pictures(server):
    listed = server.get("/api/workflow_templates")["ComfyUI-StillMoving"]
    assert sorted(listed) == NAMES
    for name in listed:
        place = f"{server.url}/api/workflow_templates/ComfyUI-StillMoving/{name}.jpg"
        with urllib.request.urlopen(place, timeout=30) as answer:
            assert answer.read() == picture(name).read_bytes()
