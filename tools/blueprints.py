"""Maintainer's script, ``make blueprints``: the subgraph blueprints, subgraphs/<name>.json.

Builds each in the editor of a started ComfyUI, so that the file is what an artist's own would be.
"""

import json
import os
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from helpers.host.browser import Browser, Page, why_no_browser
from helpers.host.live import ROOT, Server, frontend_of

FOLDER = ROOT / "subgraphs"
CATEGORY = "Still-Moving"
SPACE = uuid.UUID("5b1d3a52-9c0e-4a37-8d0a-2f6c2f0d7f11")  # of ids that stay when made anew
WIDTH = 380

NOTE = """# Customize: one press, then Run
1. Press **Train** on *Train Spatial Adapter*, once. From outside: select the subgraph and press \
**Train** above it. It trains what is missing: first the Motion Adapter of the motion module, then \
the Spatial Adapter of the model, which says that it waits.
2. When both have finished, **Run**: *model* gives the customized model with its motion module and \
adapter, for KSampler with an empty latent of 16 frames.

A plain Run never trains. Both trainers have the preset *paper*; take *low memory* on cards of 8 \
GB and less. Real clips in a **Clip Set** are better than *Generate Prior Clips*: the paper takes \
40."""


@dataclass
class Node:
    """A node inside. inputs: name -> (key of a node, its output); at: column and top."""

    type: str
    at: tuple[int, int]
    inputs: dict[str, tuple[str, int]] = field(default_factory=dict)
    widgets: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Blueprint:
    """A subgraph. inputs, output: name, type, and (node's key, its socket) inside."""

    says: str
    nodes: dict[str, Node]
    inputs: list[tuple[str, str, list[tuple[str, str]]]]
    output: tuple[str, str, tuple[str, int]]


def ours(name: str, column: int, top: int, **more) -> Node:
    return Node(f"StillMoving{name}", (column * (WIDTH + 60), top), **more)


def moving(node_type: str, says: str, widgets: list[tuple[str, str]]) -> Blueprint:
    """A model with a motion module, and a node that changes how it moves."""
    nodes = {
        "module": ours("LoadMotionModule", 0, 0),
        "moving": ours("ApplyMotionModule", 1, 0, inputs={"motion_module": ("module", 0)}),
        "node": ours(node_type, 2, 0, inputs={"model": ("moving", 0)}),
    }
    inputs = [("model", "MODEL", [("moving", "model")])]
    inputs += [("motion_module", "COMBO", [("module", "file")])]
    inputs += [(name, kind, [("node", name)]) for name, kind in widgets]
    return Blueprint(says, nodes, inputs, ("model", "MODEL", ("node", 0)))


def customize() -> Blueprint:
    """Both trainings, and the model that uses them."""
    module = {"motion_module": ("module", 0)}
    sets = {"customized_images": ("images", 0), "natural_clips": ("clips", 0)}
    nodes = {
        "note": Node("MarkdownNote", (-WIDTH - 300, 0), widgets={"text": NOTE}),
        "module": ours("LoadMotionModule", 0, 0),
        "plain": ours("ApplyMotionModule", 0, 140, inputs=module),
        "clips": ours("GeneratePriorClips", 1, 0, inputs={"model": ("plain", 0)}),
        "images": ours("GenerateImages", 1, 760),
        "motion": ours("TrainMotionAdapter", 2, 0, inputs=module | {"training_set": ("clips", 0)}),
        "spatial": ours(
            "TrainSpatialAdapter", 3, 0, inputs=module | sets | {"motion_adapter": ("motion", 0)}
        ),
        "moving": ours("ApplyMotionModule", 4, 0, inputs=module),
        "look": ours(
            "ApplySpatialAdapter", 4, 160, inputs={"model": ("moving", 0), "file": ("spatial", 0)}
        ),
    }
    customized = [(key, "model") for key in ("images", "spatial", "moving")]
    both = ("images", "clips")
    inputs = [
        ("model", "MODEL", customized),
        ("clip", "CLIP", [("images", "clip")]),
        ("vae", "VAE", [(key, "vae") for key in both]),
        ("plain_model", "MODEL", [(key, "model") for key in ("plain", "motion")]),
        ("plain_clip", "CLIP", [("clips", "clip")]),
        ("motion_module", "COMBO", [("module", "file")]),
        ("image_prompts", "STRING", [("images", "prompts")]),
        ("clip_prompts", "STRING", [("clips", "prompts")]),
        ("token", "STRING", [(key, "token") for key in both]),
        ("class_word", "STRING", [(key, "class_word") for key in both]),
        ("width", "INT", [(key, "width") for key in both]),
        ("height", "INT", [(key, "height") for key in both]),
    ]
    says = (
        "A customized SD1.5 model, a motion module and prompts in; the model that moves and keeps"
        " its look out. Select it and press Train above it, once; Run when both trainings are done."
    )
    return Blueprint(says, nodes, inputs, ("model", "MODEL", ("look", 0)))


BLUEPRINTS = {
    "Still-Moving Customize": customize(),
    "Still-Moving Motion Slider": moving(
        "ApplyMotionAdapter",
        "A model with a motion module and the motion slider: 1 frozen, 0 original, below 0 more.",
        [("file", "COMBO"), ("scale", "FLOAT")],
    ),
    "Still-Moving Long Clip": moving(
        "ContextWindows",
        "A model with a motion module that samples clips longer than its limit, in windows.",
        [("length", "INT"), ("overlap", "INT"), ("schedule", "COMBO")],
    ),
}

BUILD = """([name, says, category, it, width]) => {
  app.graph.clear();
  const made = {};
  for (const [key, node] of Object.entries(it.nodes)) {
    const one = made[key] = LiteGraph.createNode(node.type);
    app.graph.add(one);
    for (const [widget, value] of Object.entries(node.widgets))
      one.widgets.find(w => w.name === widget).value = value;
    one.pos = node.at;
    const [, height] = one.computeSize();
    one.setSize([width, node.type === "MarkdownNote" ? 460 : height]);
  }
  for (const [key, node] of Object.entries(it.nodes))
    for (const [socket, [source, slot]] of Object.entries(node.inputs))
      made[source].connect(slot, made[key], made[key].findInputSlot(socket));
  const { node: host, subgraph } = app.graph.convertToSubgraph(new Set(Object.values(made)));
  // The editor has its own idea of what is shown outside.
  for (const input of [...subgraph.inputs]) subgraph.removeInput(input);
  for (const output of [...subgraph.outputs]) subgraph.removeOutput(output);
  const inside = key => subgraph.nodes.find(n =>
      n.type === it.nodes[key].type && n.pos[0] === it.nodes[key].at[0]);
  for (const [input, type, targets] of it.inputs) {
    const socket = subgraph.addInput(input, type);
    for (const [key, slot] of targets) {
      const node = inside(key);
      socket.connect(node.inputs[node.findInputSlot(slot)], node);
    }
  }
  const [output, type, [key, slot]] = it.output;
  subgraph.addOutput(output, type).connect(inside(key).outputs[slot], inside(key));
  subgraph.name = host.title = name;
  subgraph.category = category;
  subgraph.description = says;
  subgraph.inputNode.pos = [-240, 0];  // between the note and the nodes
  subgraph.outputNode.pos = [Math.max(...subgraph.nodes.map(n => n.pos[0])) + width + 60, 0];
  host.pos = [0, 0];
  host.setSize([400, host.computeSize()[1]]);
  const kept = subgraph.asSerialisable();
  return { nodes: [host.serialize()], definitions: { subgraphs: [{ ...kept, name, category,
      description: says }] } };
}"""


def made(page: Page, name: str) -> dict:
    """A blueprint as the editor writes it, without what is this page's alone."""
    it = BLUEPRINTS[name]
    graph = page.page.evaluate(BUILD, [name, it.says, CATEGORY, asdict(it), WIDTH])
    (host,), (inner,) = graph["nodes"], graph["definitions"]["subgraphs"]
    for node in inner["nodes"]:
        node["properties"].pop("still_moving_uid", None)  # each copy gets its own
    for socket in host["inputs"] + host["outputs"]:
        socket["link" if "link" in socket else "links"] = None if "link" in socket else []
    host["id"] = 1
    text = json.dumps(graph)
    for kind in ("inputs", "outputs"):
        for socket in inner[kind]:
            text = text.replace(
                socket["id"], str(uuid.uuid5(SPACE, f"{name} {kind} {socket['name']}"))
            )
    text = text.replace(inner["id"], str(uuid.uuid5(SPACE, name)))
    whole = {"revision": 0, "last_node_id": 1, "last_link_id": 0, "links": [], "version": 0.4}
    return whole | json.loads(text)


def main() -> None:
    names = sys.argv[1:] or list(BLUEPRINTS)
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if reason := why_no_browser(comfyui):
        sys.exit(f"no browser: {reason}")
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as base,
        Server(comfyui, Path(base), frontend_of(comfyui)) as server,
        Browser(server) as browser,
    ):
        for name in names:
            with browser.open() as page:  # a page keeps the values of nodes by their numbers
                text = json.dumps(made(page, name), indent=1) + "\n"
            (FOLDER / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")
