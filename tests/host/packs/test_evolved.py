"""AnimateDiff-Evolved's nodes on our MODELs: its sampling and windows go with ours, or say why not.

Its motion module is of SD1.5's size: test_full_size.py.
"""

import pytest
import torch

from helpers.host.graph import Graph, close

pytestmark = pytest.mark.pack("AnimateDiff-Evolved")

FRAMES = 8


def evolved(graph: Graph, model: list, overlap: int | None = None) -> list:
    """Use Evolved Sampling; with an overlap, in its own windows of half the clip."""
    inputs = {}
    if overlap is not None:
        windows = {"context_length": FRAMES // 2, "context_overlap": overlap}
        inputs["context_options"] = graph.add("ADE_StandardStaticContextOptions", **windows)[0]
    return graph.add("ADE_UseEvolvedSampling", model=model, beta_schedule="autoselect", **inputs)[0]


def clip(server, build, frames: int = FRAMES) -> torch.Tensor:
    graph = Graph()
    return graph.latents(server, graph.sample(build(graph), frames=frames))


def test_its_sampling_changes_nothing_of_our_clips(crowd):
    expected = clip(crowd, lambda g: g.moving())
    assert torch.equal(clip(crowd, lambda g: evolved(g, g.moving())), expected)
    assert torch.equal(clip(crowd, lambda g: g.moving(evolved(g, g.world[0]))), expected)


def test_our_windows_go_with_its_sampling(crowd):
    expected = clip(crowd, lambda g: g.windowed(g.moving()))
    assert torch.equal(clip(crowd, lambda g: evolved(g, g.windowed(g.moving()))), expected)


def test_its_windows_of_single_frames_change_nothing(crowd):
    """Without a motion module frames are drawn one by one."""
    expected = clip(crowd, lambda g: g.world[0])
    close(clip(crowd, lambda g: evolved(g, g.world[0], 1)), expected)


def test_each_of_its_windows_is_a_clip_of_ours(crowd):
    halves = clip(crowd, lambda g: evolved(g, g.moving(), 0))
    first = clip(crowd, lambda g: g.moving(), FRAMES // 2)
    close(halves[: FRAMES // 2], first)
    assert (halves - clip(crowd, lambda g: g.moving())).abs().max() > 0.05


@pytest.mark.parametrize("first", ["ours", "its"])
def test_windows_of_both_packs_are_refused_by_name(crowd, first):
    def build(graph: Graph) -> list:
        if first == "ours":
            return evolved(graph, graph.windowed(graph.moving()), 1)
        return graph.windowed(evolved(graph, graph.moving(), 1))

    with pytest.raises(RuntimeError, match="AnimateDiff-Evolved's Context Options") as error:
        clip(crowd, build)
    assert "Take out Context Windows" in str(error.value)
    clip(crowd, lambda g: g.windowed(g.moving()))  # and the next one samples
