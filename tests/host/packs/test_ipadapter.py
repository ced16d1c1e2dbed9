"""IPAdapter Plus beside a motion module: its pictures act, the motion stays, frame by frame."""

import pytest
import torch
from torch import Tensor

from helpers.host.graph import Graph, close
from still_moving.adapters.files.tensors import write_tensors
from still_moving.worlds.shapes.latents import TEXT_DIM

pytestmark = pytest.mark.pack("IPAdapter Plus")

FILE = "shapes_ip_adapter.safetensors"
CLIP_DIM, TOKENS, CHANNELS, FRAMES = 32, 4, 64, 8


@pytest.fixture(scope="module")
def pictured(crowd):
    """The server, with an IP-Adapter of the shapes world's sizes and pictures' embeddings."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * shape[-1] ** -0.5

    tensors = {
        "image_proj.proj.weight": drawn(TOKENS * TEXT_DIM, CLIP_DIM),
        "image_proj.proj.bias": torch.zeros(TOKENS * TEXT_DIM),
        "image_proj.norm.weight": torch.ones(TEXT_DIM),
        "image_proj.norm.bias": torch.zeros(TEXT_DIM),
    }
    for number in range(1, 32, 2):  # SD1.5's cross-attentions, as its files count them
        for part in ("k", "v"):
            tensors[f"ip_adapter.{number}.to_{part}_ip.weight"] = 3 * drawn(CHANNELS, TEXT_DIM)
    models, inputs = crowd.base / "models" / "ipadapter", crowd.base / "input"
    for folder in (models, inputs):
        folder.mkdir(parents=True, exist_ok=True)
    write_tensors(models / FILE, tensors, {})
    for name, count in (("one", 1), ("each", FRAMES)):
        torch.save(5 * drawn(count, 1, CLIP_DIM)[:, 0], inputs / f"{name}.ipadpt")
    torch.save(torch.zeros(1, CLIP_DIM), inputs / "nothing.ipadpt")
    return crowd


def pictures(graph: Graph, model: list, embeds: str = "one") -> list:
    """The MODEL with an IP-Adapter: of one picture, or of one for each frame."""
    loaded = graph.add("IPAdapterModelLoader", ipadapter_file=FILE)
    kind = "IPAdapterEmbeds" if embeds == "one" else "IPAdapterEmbedsBatch"
    return graph.add(
        kind,
        model=model,
        ipadapter=loaded[0],
        pos_embed=graph.add("IPAdapterLoadEmbeds", embeds=f"{embeds}.ipadpt")[0],
        neg_embed=graph.add("IPAdapterLoadEmbeds", embeds="nothing.ipadpt")[0],
        weight=1.0,
        weight_type="linear",
        start_at=0.0,
        end_at=1.0,
        embeds_scaling="V only",
    )[0]


def clip(server, build, frames: int = FRAMES) -> Tensor:
    graph = Graph()
    return graph.latents(server, graph.sample(build(graph), frames=frames))


def change(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("embeds", ["one", "each"])
def test_the_pictures_act_and_the_motion_stays(pictured, embeds):
    both = clip(pictured, lambda g: pictures(g, g.moving(), embeds))
    assert change(both, clip(pictured, lambda g: g.moving())) > 0.01
    assert change(both, clip(pictured, lambda g: pictures(g, g.world[0], embeds))) > 0.01


def test_the_order_of_the_nodes_is_free(pictured):
    first = clip(pictured, lambda g: g.moving(pictures(g, g.world[0])))
    last = clip(pictured, lambda g: pictures(g, g.moving()))
    # Its range of sampling is of the noise schedule that it finds: the shapes world has one.
    assert torch.equal(first, last)


@pytest.mark.parametrize("embeds", ["one", "each"])
def test_in_windows_each_frame_has_its_own_picture(pictured, embeds):
    """Without a motion module frames are drawn one by one: windows change nothing."""
    plain = clip(pictured, lambda g: pictures(g, g.world[0], embeds))
    windowed = clip(pictured, lambda g: g.windowed(pictures(g, g.world[0], embeds)))
    close(windowed, plain)
    assert change(plain, clip(pictured, lambda g: g.world[0])) > 0.01


def test_a_picture_for_each_frame_is_one_for_each(pictured):
    each, one = (clip(pictured, lambda g, e=e: pictures(g, g.world[0], e)) for e in ("each", "one"))
    assert change(each, one) > 0.01
