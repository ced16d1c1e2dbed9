"""What the pictures of the help pages show: each node with its neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass, field

WIDTH = 380  # of a node, in units of the canvas
V1, TUNED = "mm_sd_v15.ckpt", "temporaldiff-v1-animatediff.ckpt"
MODULE, ADAPTER, LORA = "mm_sd_v15_v2.ckpt", "mm_sd_v15_v2_slider.safetensors", "my_dog_lora"
CHECKPOINT, PLAIN, SPATIAL = "my_dog.safetensors", "v1-5-pruned.safetensors", "my_dog.safetensors"
WEIGHTS = "pll_dance.safetensors"
NAMED_FILES = {  # empty ones, so that the pictures show the names an artist has
    "checkpoints": (CHECKPOINT, PLAIN),
    "animatediff_models": (MODULE, V1, TUNED),
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
    schedule = ours("ScaleSchedule", widgets={"preset": "motion first"})
    still = Node("LoadImage", {"image": "still.png"}, height=340)
    both = {"model": ("checkpoint", 0), "motion_module": ("module", 0)}
    return (
        {
            "LoadMotionModule": after("ApplyMotionModule", module, "motion_module"),
            "MergeMotionModules": merging(),
            "ApplyMotionModule": {
                "checkpoint": checkpoint(CHECKPOINT),
                "module": module,
                "node": ours("ApplyMotionModule", inputs=both),
            },
            "InjectCheckpoint": after("InjectCheckpoint", checkpoint(PLAIN), checkpoint=CHECKPOINT),
            "ApplyMotionAdapter": after("ApplyMotionAdapter", moving(), file=ADAPTER, scale=-0.5),
            "ApplyMotionWeights": after("ApplyMotionWeights", moving(), file=WEIGHTS, amount=0.8),
            "ScaleSchedule": after("ApplyMotionAdapter", schedule, "scale_schedule", file=ADAPTER),
            "ScaleOverFrames": after(
                "ApplyMotionAdapter",
                ours("ScaleOverFrames", height=200),
                "scale_schedule",
                file=ADAPTER,
            ),
            "ApplySpatialAdapter": after("ApplySpatialAdapter", moving(), file=SPATIAL),
            "ExportSpatialAdapter": after(
                "ExportSpatialAdapter", checkpoint(CHECKPOINT), file=SPATIAL, name=LORA
            ),
            "FreezeClip": after("FreezeClip", still, "image"),
            "ContextWindows": after("ContextWindows", moving()),
            "CompareClips": compared(),
            "MotionViews": after("MotionViews", moving()),
            "FreeNoise": {
                "latent": Node("EmptyLatentImage", {"batch_size": 48}),
                "node": ours("FreeNoise", inputs={"latent": ("latent", 0)}),
            },
            "MeasureMotion": measured(),
            "LoadShapesWorld": shapes_world(),
        }
        | gathering_scenes()
        | training_scenes()
    )


def merging() -> Scene:
    """Two motion modules, merged."""
    both = {"motion_module_1": ("first", 0), "motion_module_2": ("second", 0)}
    return {
        "first": ours("LoadMotionModule", widgets={"file": V1}),
        "second": ours("LoadMotionModule", widgets={"file": TUNED}),
        "node": ours("MergeMotionModules", widgets={"ratio": 0.6}, inputs=both),
    }


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


def hidden_clips() -> Scene:
    """Out of view, clips of the shapes world: moving, jumping and frozen."""
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
    scene["_frozen"] = ours("FreezeClip", widgets={"frames": 8}, inputs={"image": ("_images0", 0)})
    return scene


def measured() -> Scene:
    clips = {"clip_1": ("_images0", 0), "clip_2": ("_images1", 0), "clip_3": ("_frozen", 0)}
    labels = {"labels": "moving, no motion module, frozen"}
    meter = ours("MeasureMotion", widgets=labels, inputs=clips, width=560, height=430)
    return hidden_clips() | {"result": meter}


def compared() -> Scene:
    clips = {"before": ("_images1", 0), "after": ("_images0", 0)}
    labels = {"labels": "no motion module, with it"}
    node = ours("CompareClips", widgets=labels, inputs=clips, width=560, height=480)
    return hidden_clips() | {"result": node}
