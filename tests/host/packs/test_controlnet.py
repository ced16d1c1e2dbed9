"""Advanced-ControlNet steers our clips: frame by frame, also in Context Windows."""

import pytest
import torch

from helpers.host.graph import PROMPT, Graph, close

pytestmark = pytest.mark.pack("Advanced-ControlNet")

FRAMES = 8


class Steered(Graph):
    """Clips that follow another clip, through core's nodes or through the pack's."""

    def __init__(self) -> None:
        super().__init__()
        # Every frame another picture: what they show does not matter.
        self.hints = self.pixels(self.sample(self.world[0], frames=FRAMES, steps=1, seed=5))
        self.conds = {"positive": self.text(PROMPT), "negative": self.text("")}

    def core(self, **inputs) -> None:
        self._apply("ControlNetApplyAdvanced", inputs)

    def advanced(self, **inputs) -> None:
        self._apply("ACN_AdvancedControlNetApply_v2", inputs)

    def _apply(self, kind: str, inputs: dict) -> None:
        control = {"control_net": self.world[4], "image": self.hints, "strength": 1.0}
        control |= {"start_percent": 0.0, "end_percent": 1.0}
        applied = self.add(kind, **self.conds, **(control | inputs))
        self.conds = {"positive": applied[0], "negative": applied[1]}

    def clip(self, server, model, **changes) -> torch.Tensor:
        return self.latents(server, self.sample(model, frames=FRAMES, **self.conds, **changes))


def keyframes(graph: Steered) -> None:
    """The control at full strength on the first frame, and less and less to the last."""
    weights = graph.add(
        "LatentKeyframeTiming",
        batch_index_from=0,
        batch_index_to_excl=FRAMES,
        strength_from=1.0,
        strength_to=0.0,
        interpolation="linear",
    )
    graph.advanced(latent_kf_override=weights[0])


def half(graph: Steered) -> list:
    """Fewer hints than frames."""
    return first(graph, FRAMES // 2)


def first(graph: Steered, count: int) -> list:
    return graph.add("ImageFromBatch", image=graph.hints, batch_index=0, length=count)[0]


CHAINS = {
    "the pack's": lambda graph: graph.advanced(),
    "half the hints": lambda graph: graph.advanced(image=half(graph)),
    "before core's": lambda graph: (graph.advanced(), graph.core(strength=0.5)),
    "after core's": lambda graph: (graph.core(strength=0.5), graph.advanced()),
    "between": lambda graph: (graph.core(strength=0.5), graph.advanced(), graph.core(strength=0.7)),
    "a strength for each frame": keyframes,
}


def test_with_motion_it_is_what_cores_own_node_does(crowd):
    clips = {}
    for way in ("core", "advanced", "neither"):
        graph = Steered()
        if way != "neither":
            getattr(graph, way)()
        clips[way] = graph.clip(crowd, graph.moving())
    close(clips["advanced"], clips["core"])
    assert (clips["core"] - clips["neither"]).abs().max() > 0.05


@pytest.mark.parametrize("chain", CHAINS)
def test_in_windows_each_frame_sees_its_own_hint(crowd, chain):
    """Without a motion module frames are drawn one by one: windows change nothing."""
    clips = []
    for windows in (False, True):
        graph = Steered()
        CHAINS[chain](graph)
        model = graph.windowed(graph.world[0]) if windows else graph.world[0]
        clips.append(graph.clip(crowd, model))
    close(clips[1], clips[0])


def test_windows_leave_nothing_in_the_controls(crowd):
    """ComfyUI keeps them from prompt to prompt."""
    clips = []
    for windows in (True, False):
        graph = Steered()
        graph.hints = graph.hints if windows else first(graph, FRAMES)  # another node: new controls
        graph.core(strength=0.5)
        graph.advanced()
        if windows:
            graph.clip(crowd, graph.windowed(graph.world[0]))
        clips.append(graph.clip(crowd, graph.world[0]))
    assert torch.equal(*clips)
