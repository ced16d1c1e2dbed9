"""Invert Clip: the start noise from which a deterministic sampler makes a clip again."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import latent_preview
import torch
from comfy_api.latest import io
from torch import Tensor

from ...adapters.host.motion_module import required_motion_patcher
from ...common.errors import UserError
from ..shared.sockets import CATEGORY, advanced


def sampling_inputs() -> list[io.Input]:
    """How the sampler is run backwards."""
    return [
        io.Int.Input(
            "steps",
            default=20,
            min=1,
            max=1000,
            tooltip="Sampling steps; generate with the same number. More are more exact.",
        ),
        io.Combo.Input(
            "scheduler",
            options=list(comfy.samplers.KSampler.SCHEDULERS),
            default="sgm_uniform",
            tooltip="Where the steps are; generate with the same one.",
        ),
        io.Boolean.Input(
            "keep_colours",
            default=True,
            tooltip="On: the noise gives the clip back. Off, for a new clip: it loses the"
            " clip's mean colour and brightness, and the prompt decides them.",
        ),
        advanced(
            io.Int.Input(
                "refine",
                default=5,
                min=0,
                max=20,
                tooltip="More looks at each step, each a call of the model: 0 is plain DDIM"
                " inversion and drifts, 5 comes back close.",
            )
        ),
    ]


class InvertClip(io.ComfyNode):
    """A clip -> LATENT of its start noise, by the sampler run backwards (VMC, section 3.3)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingInvertClip",
            display_name="Invert Clip",
            category=CATEGORY,
            description="Finds the start noise that a clip is made from, so that a new clip follows"
            " its frames: its layout and its course. Generate from it with KSampler (Advanced),"
            " add_noise disable, sampler ddim, and the same steps and scheduler.",
            inputs=[
                io.Model.Input("model", tooltip="With a motion module, as it will generate."),
                io.Image.Input("clip_images", tooltip="The frames of one clip, in their order."),
                io.Vae.Input("vae", tooltip="Of the model's checkpoint; encodes the frames."),
                io.Clip.Input("clip", tooltip="Of the model's checkpoint; reads the prompt."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="Leave it empty: the noise then holds the most of the clip. With words"
                    " that describe the clip it holds less of them.",
                ),
                *sampling_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="start_noise"),
                io.String.Output(display_name="settings"),
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, clip_images: Tensor, vae: Any, clip: Any, prompt: str, steps: int,
        scheduler: str, keep_colours: bool, refine: int,
    ) -> io.NodeOutput:  # fmt: skip  # the inputs by kind, several a line
        _refuse(model, clip_images)
        latents = vae.encode(clip_images[..., :3])
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
        start = invert(model, latents, conditioning, steps, scheduler, refine)
        if not keep_colours:  # as training/network/inversion.py does, where it says why
            start = start - start.mean((0, 2, 3), keepdim=True)
        again = f"cfg 1 and the prompt {prompt!r} give the clip back; " if keep_colours else ""
        settings = (
            f"KSampler (Advanced): add_noise disable, steps {steps}, sampler_name ddim,"
            f" scheduler {scheduler}, start_at_step 0; {again}another prompt and a cfg above 1"
            " give a new one."
        )
        return io.NodeOutput({"samples": start}, settings)


@torch.no_grad()  # ComfyUI 0.3.64's samplers do not say it themselves
def invert(
    model: Any, latents: Tensor, conditioning: list, steps: int, scheduler: str, refine: int
) -> Tensor:
    """Start noise, in the form of a LATENT, that sampling without added noise takes to ``latents``.

    latents: (frames, channels, height, width). Raises UserError when the rounds run away, as with
    a model that does not know such clips.
    """
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, steps)
    sampler = comfy.samplers.KSAMPLER(backwards, extra_options={"refine": refine})
    start = comfy.sample.sample_custom(
        model, torch.zeros_like(latents), 1.0, sampler, sigmas, conditioning, conditioning, latents,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1), disable_pbar=True, seed=0,
    )  # fmt: skip  # many short values, several a line
    if not torch.isfinite(start).all():
        raise UserError(
            "Invert Clip", "numbers without end", "finite noise",
            "Set refine to 0, take more steps, or a motion module that fits the checkpoint.",
        )  # fmt: skip  # file, found, expected, next move
    return start


def backwards(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Any, disable: bool,
    refine: int,
) -> Tensor:  # fmt: skip  # the inputs by kind, several a line
    """ComfyUI's ddim (Euler steps over sigmas), undone from the last step to the first.

    A step's noise is that at its far end, which is found by fixed-point rounds: each takes the last
    guess for it. The clip itself comes in as x, because no noise is added to it.
    """
    each = x.new_ones([len(x)])
    for done, i in enumerate(reversed(range(len(sigmas) - 1))):
        near, denoised = x, x
        for _ in range(1 + refine):
            denoised = model(x, sigmas[i] * each, **extra_args)
            x = near + (x - denoised) / sigmas[i] * (sigmas[i] - sigmas[i + 1])
        if callback is not None:
            seen = {"x": x, "i": done, "sigma": sigmas[i], "sigma_hat": sigmas[i]}
            callback(seen | {"denoised": denoised})
    return x


def _refuse(model: Any, images: Tensor) -> None:
    required_motion_patcher(model, "model", "Invert Clip")
    if len(images) == 1:
        raise UserError("clip_images", "one frame, a still", "a clip", "Connect all its frames.")
