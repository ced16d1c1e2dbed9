"""Train the emoji world from nothing: VAE, text-to-image, motion, Motion Adapter, customizations.

Each stage starts from the files of the stage before and writes one file. A stage that was cut goes
on where it was. Drafts stay outside of the pack: git forgets no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from tqdm import tqdm

from ...adapters.files.checkpoint import read_unet
from ...common import files
from ...common.errors import UserError
from ...training.checks.device import pick_device
from ...training.jobs.job import Job, JobFolder
from ...training.network.unet import build_unet, predict
from ...training.recipes.presets import PRESETS
from ...training.recipes.recipe import motion_adapter
from ...training.sets.build import build_set
from ...training.sets.options import CacheOptions
from ...training.worker.session import run_job
from ...worlds.emoji.files import BASE, MOTION_ADAPTER, MOTION_MODULE, VAE
from ...worlds.known import EMOJI
from ..image_model import image_model, save_image_model
from ..motion_model import new_motion_module, save_motion_module
from ..optimize import Keep, optimize, weighted_loss
from .collect import collect, is_complete
from .customize import customized_name, customizing, save_customization, with_prior
from .natural import EmojiEncoder, write_natural_clips
from .pictures import Emoji
from .sets import base_clips, base_stills, customized_stills
from .subjects import FRAMES, SIZE, TOKENS
from .vae import load_vae, on_device, train_vae


@dataclass(frozen=True)
class Stage:
    """minutes: at most, for a machine that is lent by the minute."""

    steps: int
    batch: int
    lr: float
    minutes: float


@dataclass(frozen=True)
class Size:
    """How long everything is trained, and on how many views of each subject."""

    vae: Stage
    vae_width: int  # of its layers; the file has TAESD's 64
    images: Stage
    still_views: int  # of each subject in each look
    motion: Stage
    clip_views: int
    motion_adapter: Stage
    natural: int  # clips that it holds still
    customization: Stage
    customized_views: int  # of each still that teaches it


# The hours of two cores, or the minutes of a card.
CPU = Size(
    vae=Stage(8000, 16, 1e-3, 90),
    vae_width=32,
    images=Stage(10000, 32, 1e-3, 600),
    still_views=48,
    motion=Stage(4000, 2, 5e-4, 600),
    clip_views=8,
    motion_adapter=Stage(160, 1, 2e-3, 60),
    natural=48,
    customization=Stage(600, 16, 2e-3, 60),
    customized_views=32,
)
CARD = Size(
    vae=Stage(12000, 64, 1e-3, 3),
    vae_width=64,
    images=Stage(12000, 256, 1e-3, 4),
    still_views=96,
    motion=Stage(12000, 16, 5e-4, 4),
    clip_views=24,
    motion_adapter=Stage(320, 4, 2e-3, 1),
    natural=48,
    customization=Stage(1500, 64, 2e-3, 0.3),
    customized_views=64,
)


class Training:
    """A folder of drafts, and the stages that fill it."""

    def __init__(self, out: Path, data: Path, device: torch.device, size: Size):
        self.out, self.device, self.size = out, device, size
        self.emoji = Emoji(data, device)

    def kept(self, *made_with: str) -> Path:
        """A folder for encoded sets, and for what a stage that was cut goes on from.

        made_with: files of earlier stages: with others, it is another folder.
        """
        digest = hashlib.sha256()
        for name in made_with:
            digest.update(files.read_bytes(self.out / name))
        folder = self.out / "unfinished" / (digest.hexdigest()[:12] if made_with else "vae")
        files.make_folder(folder)
        return folder

    @cached_property
    def encoder(self) -> AutoencoderTiny:
        return on_device(load_vae(self.out / VAE), self.device)

    def vae(self) -> None:
        stage, path = self.size.vae, self.out / VAE
        train_vae(
            self.emoji, path, self.device, steps=stage.steps, batch=stage.batch, lr=stage.lr,
            width=self.size.vae_width, keep=self.kept() / "vae.pt", minutes=stage.minutes,
        )  # fmt: skip  # what, where, then how

    def images(self) -> None:
        """The text-to-image model, on stills of the base's looks."""
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        stage, model = self.size.images, image_model(EMOJI).to(self.device)
        data = base_stills(self.kept(VAE), self.emoji, self.encoder, self.size.still_views)
        stream = data.batches(stage.batch, generator, self.device)
        # What a subject is, is decided at high noise.
        loss = weighted_loss(
            self.fast(lambda x, t, text: model(x, t, text).sample), stream, generator, early=0.3
        )
        average = self._optimize(model, loss, stage, self.kept(VAE) / "images.pt", generator)
        save_image_model(self.out / BASE, average, EMOJI)

    def motion(self) -> None:
        """The motion module, over the frozen image model, on clips of the "3d" look."""
        generator = torch.Generator().manual_seed(1)
        stage, untrained = self.size.motion, new_motion_module(EMOJI, generator)
        weights = read_unet(self.out / BASE)
        unet = build_unet(weights, untrained, torch.float32, self.device)
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_("motion_modules" in name)
        data = base_clips(self.kept(VAE), self.emoji, self.encoder, self.size.clip_views)
        stream = data.batches(stage.batch, generator, self.device)
        # Motion is decided early, and the image model already knows what comes late.
        loss = weighted_loss(
            self.fast(lambda x, t, text: predict(unet, x, t, text)), stream, generator, early=0.7
        )
        average = self._optimize(unet, loss, stage, self.kept(VAE, BASE) / "motion.pt", generator)
        save_motion_module(self.out / MOTION_MODULE, average, EMOJI)

    def motion_adapter(self) -> None:
        """The motion slider, from clips held still, by the trainer itself."""
        stage, kept = self.size.motion_adapter, self.kept(VAE, BASE, MOTION_MODULE)
        clips = write_natural_clips(kept / "natural", self.emoji, self.size.natural, seed=10)
        encoder = EmojiEncoder(self.out / VAE, self.device)
        options = CacheOptions(kind="clips", width=SIZE, height=SIZE, frames=FRAMES)
        build_set(clips, kept / "set", encoder, options)
        preset = {**PRESETS["motion"]["shapes world"], "frames": FRAMES}
        own = {"steps": stage.steps, "batch": stage.batch, "lr": stage.lr}
        job = Job(
            name="adapter",
            recipe=motion_adapter(**{**preset, **own}),
            checkpoint=str(self.out / BASE),
            motion_module=str(self.out / MOTION_MODULE),
            sets={"frames": str(kept / "set")},
            device=self.device.type,  # type: ignore[arg-type]  # torch has more devices than a job
        )
        folder = JobFolder(kept / "job")
        if not folder.spec.exists():
            JobFolder.create(folder.path, job)
        run_job(folder)
        state = folder.read_state()
        if state.phase != "finished":
            raise UserError(folder.path, state.phase, "a finished job", state.message)
        files.copy(folder.exports / "adapter.safetensors", self.out / MOTION_ADAPTER)

    def customization(self, name: str) -> None:
        """A look or a subject that the base never saw, as a LoRA."""
        torch.manual_seed(2)
        generator = torch.Generator().manual_seed(2)
        stage, model = self.size.customization, customizing(self.out / BASE).to(self.device)
        network = self.fast(lambda x, t, text: model(x, t, text).sample)
        few = customized_stills(
            self.kept(VAE), self.emoji, self.encoder, name, self.size.customized_views
        )
        prior = base_stills(self.kept(VAE), self.emoji, self.encoder, self.size.still_views)
        own, others = (
            weighted_loss(network, data.batches(size, generator, self.device), generator, early=0.3)
            for data, size in ((few, stage.batch), (prior, stage.batch // 2))
        )
        path = self.kept(VAE, BASE) / f"{name}.pt"
        average = self._optimize(model, with_prior(own, others), stage, path, generator)
        save_customization(self.out / customized_name(name), average, name)

    def fast(self, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The network in bfloat16 on a card, which has no time to lose."""

        def half(*given: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda"):
                return network(*given).float()

        return half

    def _optimize(
        self, model: torch.nn.Module, loss: Callable[[], Tensor], stage: Stage, path: Path,
        generator: torch.Generator,
    ) -> torch.nn.Module:  # fmt: skip  # what is trained, then how
        keep = Keep(path, (generator,), stage.minutes)
        found = optimize(model, loss, steps=stage.steps, lr=stage.lr, label=path.stem, keep=keep)
        return found.module


def train_emoji(device: str, folder: Path) -> None:
    """All files, into ``folder/drafts``. Stages whose file is there already are left alone.

    folder: of emoji as ``collect`` writes them; fetched into it where there are none.
    """
    data, out = folder / "emoji", folder / "drafts"
    if not is_complete(data):
        collect(data)
    found = pick_device(device)
    training = Training(out, data, found, CARD if found.type == "cuda" else CPU)
    for name, stage in (
        (VAE, training.vae),
        (BASE, training.images),
        (MOTION_MODULE, training.motion),
        (MOTION_ADAPTER, training.motion_adapter),
        *((customized_name(n), partial(training.customization, n)) for n in TOKENS),
    ):
        if (out / name).exists():
            tqdm.write(f"{name} is there; delete it to train it anew")
        else:
            stage()
