"""Maintainer's script: the pictures of the help pages, web/docs/images/<node id>.webp.

Lays out each node with its neighbours on a started ComfyUI, runs what shows a result, and cuts the
picture out of the window. Name node ids to make only theirs.
"""

import io
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import ViewportSize

from helpers.host.browser import Browser, Page, why_no_browser
from helpers.host.live import ROOT, Server, frontend_of

IMAGES = ROOT / "web" / "docs" / "images"
ZOOM, MARGIN = 1.5, 16  # pixels of the picture to a unit of the canvas; units around the nodes
WIDTH, INDENT, GAP = 380, 40, 60
WINDOW: ViewportSize = {"width": 1280, "height": 1900}  # the tallest node with its neighbours
MODULE, ADAPTER, LORA = "mm_sd_v15_v2.ckpt", "mm_sd_v15_v2_slider.safetensors", "my_dog_lora"
CHECKPOINT, PLAIN, SPATIAL = "my_dog.safetensors", "v1-5-pruned.safetensors", "my_dog.safetensors"
WEIGHTS = "pll_dance.safetensors"
QUIET = {"Comfy.NodeBadge.NodeSourceBadgeMode": "None", "Comfy.Graph.CanvasInfo": False}
NAMED_FILES = {  # empty ones, so that the pictures show the names an artist has
    "checkpoints": (CHECKPOINT, PLAIN),
    "animatediff_models": (MODULE,),
    "animatediff_motion_lora": (ADAPTER,),
    "still_moving_adapters": (SPATIAL,),
    "still_moving_motion_weights": (WEIGHTS,),
}
DEMO_MODULE = "demo: shapes_motion_module.safetensors"


@dataclass
class Node:
    """What to put on the canvas. inputs: name -> (key of a node, its output).

    width, height: in units of the canvas; a height of 0 is as high as it has to be.
    """

    type: str
    widgets: Mapping[str, object] = field(default_factory=dict)
    inputs: dict[str, tuple[str, int]] = field(default_factory=dict)
    width: int = WIDTH
    height: int = 0


Scene = dict[str, Node]  # the picture shows the nodes whose key does not begin with _


def ours(name: str, **more) -> Node:
    return Node(f"StillMoving{name}", **more)


def after(node_type: str, source: Node, socket: str = "model", **widgets: object) -> Scene:
    """A node, and above it the one that feeds it."""
    node = ours(node_type, widgets=widgets, inputs={socket: ("source", 0)})
    return {"source": source, "node": node}


def moving() -> Node:
    return ours("ApplyMotionModule")


def checkpoint(name: str) -> Node:
    return Node("CheckpointLoaderSimple", {"ckpt_name": name})


def scenes() -> dict[str, Scene]:
    """By the part of the node's id after StillMoving."""
    module = ours("LoadMotionModule", widgets={"file": MODULE})
    schedule = ours("ScaleSchedule", widgets={"start": -0.5, "end": 0.0, "end_percent": 0.6})
    still = Node("LoadImage", {"image": "still.png"}, height=340)
    both = {"model": ("checkpoint", 0), "motion_module": ("module", 0)}
    return (
        {
            "LoadMotionModule": after("ApplyMotionModule", module, "motion_module"),
            "ApplyMotionModule": {
                "checkpoint": checkpoint(CHECKPOINT),
                "module": module,
                "node": ours("ApplyMotionModule", inputs=both),
            },
            "InjectCheckpoint": after("InjectCheckpoint", checkpoint(PLAIN), checkpoint=CHECKPOINT),
            "ApplyMotionAdapter": after("ApplyMotionAdapter", moving(), file=ADAPTER, scale=-0.5),
            "ApplyMotionWeights": after("ApplyMotionWeights", moving(), file=WEIGHTS, amount=0.8),
            "ScaleSchedule": after("ApplyMotionAdapter", schedule, "scale_schedule", file=ADAPTER),
            "ApplySpatialAdapter": after("ApplySpatialAdapter", moving(), file=SPATIAL),
            "ExportSpatialAdapter": after(
                "ExportSpatialAdapter", checkpoint(CHECKPOINT), file=SPATIAL, name=LORA
            ),
            "FreezeClip": after("FreezeClip", still, "image"),
            "ContextWindows": after("ContextWindows", moving()),
            "MeasureMotion": measured(),
            "LoadShapesWorld": shapes_world(),
        }
        | gathering_scenes()
        | training_scenes()
    )


def coded(node_type: str, height: int, **widgets: object) -> Scene:
    """A node that encodes with a checkpoint's CLIP and VAE, and the checkpoint."""
    inputs = {"clip": ("checkpoint", 1), "vae": ("checkpoint", 2)}
    node = ours(node_type, widgets=widgets, inputs=inputs, height=height)
    return {"checkpoint": checkpoint(PLAIN), "node": node}


def on_moving(node_type: str) -> Scene:
    """A node that encodes, on a model with a motion module."""
    scene = coded(node_type, 560 if node_type == "GeneratePriorClips" else 330)
    scene["node"].inputs["model"] = ("moving", 0)
    with_module = {"model": ("checkpoint", 0), "motion_module": ("_module", 0)}
    return {
        "checkpoint": scene["checkpoint"],
        "_module": ours("LoadMotionModule", widgets={"file": MODULE}),
        "moving": ours("ApplyMotionModule", inputs=with_module),
        "node": scene["node"],
    }


def gathering_scenes() -> dict[str, Scene]:
    """Of the nodes that gather sets, and the one that inverts a clip."""
    drawn = coded("GenerateImages", 560)
    drawn["checkpoint"].widgets = {"ckpt_name": CHECKPOINT}
    drawn["node"].inputs["model"] = ("checkpoint", 0)
    clips = {"folder": "dogs_at_play", "captions": "a dog at play", "fps": 8.0}
    images = {"folder": "my_dog_drawn", "captions": "a photo of sks dog"}
    return {
        "ImageSet": coded("ImageSet", 330, **images),
        "ClipSet": coded("ClipSet", 370, **clips),
        "GenerateImages": drawn,
        "GeneratePriorClips": on_moving("GeneratePriorClips"),
        "InvertClip": on_moving("InvertClip"),
    }


def trainer(
    node_type: str, sets: dict[str, tuple], checkpoint_file: str = PLAIN, **widgets: str
) -> Scene:
    """A node that trains. sets: its inputs of sets and CLIP, from neighbours out of view."""
    both = {"model": ("checkpoint", 0), "motion_module": ("module", 0)}
    scene: Scene = {"_clips": ours("ClipSet")}
    if ("_images", 0) in sets.values():
        scene["_images"] = ours("ImageSet")
    return scene | {
        "checkpoint": checkpoint(checkpoint_file),
        "module": ours("LoadMotionModule", widgets={"file": MODULE}),
        "node": ours(node_type, widgets=widgets, inputs=both | sets),
    }


MOTION_TRAINERS = {
    "TrainCustomizeAVideo": {"prompt": "a ginger cat jumping", "appearance": "a ginger cat"},
    "TrainVMC": {"prompt": "a cat jumping"},
    "TrainNewMove": {"token": "pll", "prompt": "a person doing the pll"},
    "TrainMotionFromClips": {"prompt": "a ginger cat jumping on a sofa"},
}


def training_scenes() -> dict[str, Scene]:
    """Of the nodes that train."""
    clips = {"clips": ("_clips", 0), "clip": ("checkpoint", 1)}
    return {
        "TrainMotionAdapter": trainer(
            "TrainMotionAdapter",
            {"training_set": ("_clips", 0)},
            name=ADAPTER.removesuffix(".safetensors"),
        ),
        **{name: trainer(name, clips, **widgets) for name, widgets in MOTION_TRAINERS.items()},
        "TrainSpatialAdapter": trainer(
            "TrainSpatialAdapter",
            {"customized_images": ("_images", 0), "natural_clips": ("_clips", 0)},
            CHECKPOINT,
            motion_adapter=ADAPTER,
            name=SPATIAL.removesuffix(".safetensors"),
        ),
    }


def shapes_world() -> Scene:
    both = {"model": ("world", 0), "motion_module": ("_module", 0)}
    prompt = {"text": "red circle left night"}
    return {
        "_module": ours("LoadMotionModule", widgets={"file": DEMO_MODULE}),
        "world": ours("LoadShapesWorld"),
        "moving": ours("ApplyMotionModule", inputs=both),
        "prompt": Node("CLIPTextEncode", prompt, {"clip": ("world", 2)}, height=90),
    }


def measured() -> Scene:
    """The meter; out of view, clips of the shapes world: moving, jumping and frozen."""
    scene = {f"_{key.strip('_')}": node for key, node in shapes_world().items()}
    for node in scene.values():
        node.inputs = {k: (f"_{key.strip('_')}", slot) for k, (key, slot) in node.inputs.items()}
    scene["_empty"] = Node("CLIPTextEncode", inputs={"clip": ("_world", 2)})
    sizes = {"width": 128, "height": 128, "batch_size": 8}
    scene["_latent"] = Node("EmptyLatentImage", sizes)
    sampling = {"seed": 3, "control_after_generate": "fixed", "steps": 12, "cfg": 2.0}
    sampling |= {"sampler_name": "euler_ancestral", "scheduler": "sgm_uniform"}
    conditions = {"positive": ("_prompt", 0), "negative": ("_empty", 0)}
    conditions |= {"latent_image": ("_latent", 0)}
    for i, model in enumerate(("_moving", "_world")):
        scene[f"_sampler{i}"] = Node("KSampler", sampling, conditions | {"model": (model, 0)})
        images = {"samples": (f"_sampler{i}", 0), "vae": ("_world", 3)}
        scene[f"_images{i}"] = Node("VAEDecode", inputs=images)
    frozen = ours("FreezeClip", widgets={"frames": 8}, inputs={"image": ("_images0", 0)})
    clips = {"clip_1": ("_images0", 0), "clip_2": ("_images1", 0), "clip_3": ("_frozen", 0)}
    labels = {"labels": "moving, no motion module, frozen"}
    meter = ours("MeasureMotion", widgets=labels, inputs=clips, width=560, height=430)
    return scene | {"_frozen": frozen, "meter": meter}


# What is shown stands like stairs, so that the links are seen in a narrow help panel too.
BUILD = """([scene, indent, gap]) => {
  app.graph.clear();
  window.lastId ??= 0;
  window.shown = [];
  const made = {};
  let top = 0;
  for (const [key, it] of Object.entries(scene)) {
    const node = made[key] = LiteGraph.createNode(it.type);
    node.id = ++window.lastId;  // the editor keeps values and pictures by id
    app.graph.add(node);
    for (const [name, value] of Object.entries(it.widgets)) {
      const widget = node.widgets.find(w => w.name === name);
      widget.value = value;
      widget.callback?.(value);
    }
    node.setSize([it.width, Math.max(node.computeSize()[1], it.height)]);
    node.pos = [-3000, 0];
    if (key.startsWith("_")) continue;
    node.pos = [indent * window.shown.length, top];
    top += node.size[1] + gap;
    window.shown.push(node);
  }
  for (const [key, it] of Object.entries(scene))
    for (const [name, [source, slot]] of Object.entries(it.inputs))
      made[source].connect(slot, made[key], made[key].findInputSlot(name));
}"""
FRAME = """([zoom, margin]) => {
  const boxes = window.shown.map(n => [n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0],
      n.pos[1] + n.size[1]]);
  const low = [0, 1].map(i => Math.min(...boxes.map(b => b[i])) - margin);
  const high = [2, 3].map(i => Math.max(...boxes.map(b => b[i])) + margin);
  const left = 80, top = 100, ds = app.canvas.ds;
  app.canvas.deselectAll?.();
  ds.scale = zoom;
  ds.offset[0] = left / zoom - low[0];
  ds.offset[1] = top / zoom - low[1];
  app.canvas.setDirty(true, true);
  return { x: left, y: top, width: zoom * (high[0] - low[0]), height: zoom * (high[1] - low[1]) };
}"""


def take_picture(page: Page, name: str, scene: Scene) -> None:
    nodes = {key: vars(node) for key, node in scene.items()}
    page.page.evaluate(BUILD, [nodes, INDENT, GAP])
    if "meter" in scene:
        page.run()
    page.page.wait_for_timeout(1500)  # pictures on nodes load on their own
    area = page.page.evaluate(FRAME, [ZOOM, MARGIN])
    page.page.wait_for_timeout(500)
    shot = Image.open(io.BytesIO(page.page.screenshot(clip=area))).convert("RGB")
    shot.save(IMAGES / f"StillMoving{name}.webp", quality=80, method=6)


def write_files(base: Path) -> None:
    for folder, names in NAMED_FILES.items():
        (base / "models" / folder).mkdir(parents=True)
        for name in names:
            (base / "models" / folder / name).touch()
    still = Image.new("RGB", (256, 256), (24, 28, 60))
    ImageDraw.Draw(still).ellipse((80, 90, 170, 180), fill=(220, 60, 50))
    (base / "input").mkdir()
    still.save(base / "input" / "still.png")


def main() -> None:
    ids = sys.argv[1:]
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if reason := why_no_browser(comfyui):
        sys.exit(f"no browser: {reason}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_files(base)
        with Server(comfyui, base, frontend_of(comfyui)) as server:
            for name, value in QUIET.items():
                server.post(f"/settings/{name}", value)
            with Browser(server) as browser, browser.open() as page:
                page.page.set_viewport_size(WINDOW)
                for name, scene in scenes().items():
                    if not ids or f"StillMoving{name}" in ids:
                        take_picture(page, name, scene)
