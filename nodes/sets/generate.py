"""Training sets that a model draws by itself: the paper's images by M', and clips for the prior."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
from comfy_api.latest import io

from ...adapters.host.motion_module import motion_patcher, required_motion_patcher
from ...common.errors import UserError
from ...training.drawing.handover import NotData
from ...training.drawing.sampling import conditioning_of, draw
from ...training.sets.build import CacheOptions
from ...training.sets.texts import lines_of
from ..shared.sockets import CATEGORY, TRAINING_SET, advanced, seed_input
from .cached import CachedSet, encoder_of, make_set
from .drawn import DrawnSet
from .pictures import keep_pictures, named
from .planning import planned_set

TOKEN, CLASS = "[V*]", "[class]"


def prompts_for(text: str, token: str, noun: str, count: int) -> list[str]:
    """``count`` prompts: the lines in turn, with the placeholders filled in."""
    lines = lines_of(text)
    for place, word, name in ((TOKEN, token, "token"), (CLASS, noun, "class_word")):
        if any(place in line for line in lines) and not word.strip():
            raise UserError(
                name, "nothing", f"the words for {place}", f"Fill in {name}, or remove {place}."
            )
        lines = [line.replace(place, word.strip()) for line in lines]
    if not lines:
        raise UserError("prompts", "no line", "a prompt a line", "Write at least one prompt.")
    return [lines[i % len(lines)] for i in range(count)]


def with_prompts(
    prompts: str, token: str, class_word: str, count: int, **how: Any
) -> dict[str, Any]:
    """A node's inputs with the text as the prompts that it means."""
    return {"prompts": prompts_for(prompts, token, class_word, count), **how}


def sampler_inputs(steps: int) -> list[io.Input]:
    return [
        advanced(
            io.String.Input(
                "negative", default="", multiline=True, tooltip="What the pictures should not show."
            )
        ),
        advanced(seed_input("Of the first one; each next one has the next seed.")),
        io.Int.Input("steps", default=steps, min=1, max=200, tooltip="Sampling steps of each."),
        io.Float.Input("cfg", default=7.0, min=0.0, max=30.0, step=0.1, tooltip="Guidance."),
        advanced(
            io.Combo.Input(
                "sampler_name",
                options=list(comfy.samplers.KSampler.SAMPLERS),
                default="dpmpp_2m",
                tooltip="As in KSampler.",
            )
        ),
        advanced(
            io.Combo.Input(
                "scheduler",
                options=list(comfy.samplers.KSampler.SCHEDULERS),
                default="karras",
                tooltip="As in KSampler.",
            )
        ),
        *(
            io.Int.Input(
                side, default=512, min=64, max=2048, step=8, tooltip="In pixels; shapes world: 128."
            )
            for side in ("width", "height")
        ),
    ]


def _generate(
    model: Any, clip: Any, vae: Any, prompts: list[str], frames: int, width: int, height: int,
    seed: int, negative: str, **sampler: Any,
) -> CachedSet:  # fmt: skip  # the inputs by kind, several a line
    bar = comfy.utils.ProgressBar(len(prompts) * sampler["steps"])
    unwanted, drawn = conditioning_of(clip, negative), []

    def each_step() -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update(1)

    for i, prompt in enumerate(prompts):
        positive, shape = conditioning_of(clip, prompt), (frames, height, width)
        drawn.append(draw(model, vae, positive, unwanted, shape, seed + i, each_step, **sampler))
        bar.update_absolute((i + 1) * sampler["steps"])  # some samplers take fewer
    place = keep_pictures(drawn, prompts)
    kind = "clips" if frames > 1 else "stills"
    options = CacheOptions(kind=kind, frames=frames, width=width, height=height)
    with named(place, "prompts"):
        return make_set(place, encoder_of(vae, clip), options)


def _planned(**how: Any) -> CachedSet:
    """The set as a plan for the job; drawn at once where that takes this ComfyUI itself."""
    try:
        return planned_set(**how)
    except NotData as reason:
        note = f"Drawn while you wait: {reason} cannot be handed to the job. Cancel stops it."
        cached = _generate(**how)
        return replace(cached, notes=(note, *cached.notes))


def prompt_inputs(example: str, count: int, noun: str) -> list[io.Input]:
    return [
        io.String.Input(
            "prompts",
            default=example,
            multiline=True,
            tooltip=f"A prompt a line, used in turn. {TOKEN} and {CLASS} are filled in.",
        ),
        io.String.Input(
            "token", default="sks", tooltip=f"For {TOKEN}: the rare word that means the look."
        ),
        io.String.Input("class_word", default="dog", tooltip=f"For {CLASS}: what it is one of."),
        io.Int.Input("count", default=count, min=1, max=1000, tooltip=f"How many {noun}."),
    ]


class Generated(DrawnSet):
    """A set that the MODEL on the node draws: at once, or from a plan."""

    @classmethod
    def read(cls, model: Any, **inputs: Any) -> dict[str, Any]:
        """What drawing takes, by the inputs. Raises UserError for a MODEL that is no such one."""
        raise NotImplementedError

    @classmethod
    def gather(cls, **inputs: Any) -> CachedSet:
        return _generate(**cls.read(**inputs))

    @classmethod
    def planned(cls, **inputs: Any) -> CachedSet:
        return _planned(**cls.read(**inputs))


class GenerateImages(Generated):
    """The customized MODEL's own pictures -> TRAINING_SET of stills (paper, section 3.3)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingGenerateImages",
            display_name="Generate Customized Images",
            category=CATEGORY,
            description="Draws the still images that a Spatial Adapter learns from, with the"
            " customized model itself: what it makes is what is to be kept.",
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The customized model, LoRAs included, without motion module."
                ),
                io.Clip.Input("clip", tooltip="Of the customized checkpoint."),
                io.Vae.Input("vae", tooltip="Of the customized checkpoint."),
                *prompt_inputs("a photo of [V*] [class]\n[V*] [class] in the park", 100, "images"),
                *sampler_inputs(25),
            ],
            outputs=[TRAINING_SET.Output(display_name="training_set")],
        )

    @classmethod
    def read(cls, model: Any, **inputs: Any) -> dict[str, Any]:
        if motion_patcher(model) is not None:
            raise UserError(
                "model",
                "a motion module on it",
                "the customized image model alone",
                "Connect the model from before Apply Motion Module.",
            )
        return {"model": model, "frames": 1} | with_prompts(**inputs)


class GeneratePriorClips(Generated):
    """A moving MODEL's own clips -> TRAINING_SET of clips, for who has no real ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingGeneratePriorClips",
            display_name="Generate Prior Clips",
            category=CATEGORY,
            description="Draws clips with the plain model and its motion module, for those who have"
            " no real ones. Real clips are better: from these an adapter also learns the motion"
            " module's own flaws.",
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                io.Model.Input("model", tooltip="The plain model with a motion module applied."),
                io.Clip.Input("clip", tooltip="Of the plain checkpoint."),
                io.Vae.Input("vae", tooltip="Of the plain checkpoint."),
                *prompt_inputs(
                    "a [class] running on grass\na [class] turning its head", 40, "clips"
                ),
                io.Int.Input("frames", default=16, min=2, max=32, tooltip="Frames of each clip."),
                *sampler_inputs(25),
            ],
            outputs=[TRAINING_SET.Output(display_name="training_set")],
        )

    @classmethod
    def read(cls, model: Any, **inputs: Any) -> dict[str, Any]:
        required_motion_patcher(model, "model", "Generate Prior Clips")
        return {"model": model} | with_prompts(**inputs)
