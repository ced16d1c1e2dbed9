"""Every pack loads beside ours, and ours gives what it gives alone."""

import re

import pytest
import torch

from helpers.host import packs
from helpers.host.graph import Graph
from still_moving.nodes import NODES
from still_moving.nodes.shared import folders

folders.register()  # the nodes list its files
OURS = {node.GET_SCHEMA().node_id for node in NODES}
A_NODE = {
    "AnimateDiff-Evolved": "ADE_UseEvolvedSampling",
    "Advanced-ControlNet": "ACN_AdvancedControlNetApply_v2",
    "IPAdapter Plus": "IPAdapterEmbeds",
    "VideoHelperSuite": "VHS_VideoCombine",
    "KJNodes": "TorchCompileModelAdvanced",
    "FizzNodes": "BatchPromptSchedule",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.pack(n)) for n in packs.PACKS])
def test_it_loads_beside_ours(crowd, name):
    log = crowd.log.read_text(errors="replace", encoding="utf-8")
    assert not re.search(rf"IMPORT FAILED.*{packs.PACKS[name].folder}", log), log
    assert A_NODE[name] in crowd.get("/object_info")


def test_all_of_ours_are_there_and_say_the_same(server, crowd):
    alone, beside = server.get("/object_info"), crowd.get("/object_info")
    core = sorted(name for name in alone if alone[name] != beside.get(name))
    assert {name: alone[name] for name in OURS} == {name: beside[name] for name in OURS}
    assert not OURS & set(core)


@pytest.mark.parametrize("windows", [False, True])
def test_a_clip_is_the_same_bit_for_bit(server, crowd, windows):
    clips = []
    for place in (server, crowd):
        graph = Graph()
        moving = graph.moving()
        model = graph.windowed(moving) if windows else moving
        adapter = "demo: shapes_motion_adapter.safetensors"
        model = graph.add("StillMovingApplyMotionAdapter", model=model, file=adapter, scale=-0.5)[0]
        clips.append(graph.latents(place, graph.sample(model)))
    assert torch.equal(*clips)
