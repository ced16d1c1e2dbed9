"""The files that a job names: read, found to fit, and known again when it is resumed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ...adapters.files.adapter import Adapter, load_adapter
from ...adapters.files.checkpoint import UNetWeights, read_unet
from ...adapters.files.image_lora import merge_image_lora
from ...adapters.files.motion_module import MotionModule, read_motion_module
from ...adapters.files.tensors import file_hash
from ...common.errors import UserError
from ..checks.captions import check_recipe
from ..checks.prediction import check_prediction
from ..jobs.exports import absorber_files, earlier
from ..jobs.job import Job, JobFolder
from ..network.unet import text_width
from ..recipes.sites import APPEARANCE, MOTION
from ..sets.store import LoadedSet, load_set
from ..text.learned_words import TextModel
from ..text.prompts import text_model


@dataclass
class Inputs:
    """What a job trains on."""

    job: Job
    weights: UNetWeights
    motion: MotionModule
    sets: dict[str, LoadedSet]
    adapters: dict[str, Adapter]  # held fixed in the network, by the recipe's names
    text: TextModel | None  # reads prompts and words, where a recipe has some

    @classmethod
    def read(cls, job: Job) -> Inputs:
        """Raises UserError for what is missing, damaged or does not fit the rest."""
        weights = read_unet(Path(job.checkpoint))
        check_prediction(job.recipe, weights.prediction, job.checkpoint)
        motion = read_motion_module(Path(job.motion_module))
        sets = {name: load_set(Path(path)) for name, path in job.sets.items()}
        most = motion.info.max_frames
        if job.recipe.frames > most:
            raise UserError(
                job.motion_module, f"room for {most} frames", f"{job.recipe.frames} frames",
                f"Train on {most} frames or fewer, or choose another motion module.",
            )  # fmt: skip  # subject, found, expected, next move
        _check_sets(job, weights, sets)
        check_recipe(job.recipe, sets)
        adapters = _read_adapters(job, weights)
        return cls(job, weights, motion, sets, adapters, text_model(job, weights.base, sets))

    def fingerprints(self, stage_index: int, exports: Path) -> dict[str, str]:
        """What a resumed run must find unchanged to be the same run."""
        motion = self.motion.content or self.motion.hash  # a merged one's hash is of its parts
        hashes = {"checkpoint": self.weights.hash, "motion module": motion}
        for name, cached in self.sets.items():
            ids = "".join(item.id for item in cached.items)
            hashes[f"set {name}"] = hashlib.sha256(ids.encode()).hexdigest()
        for name in self.adapters:
            hashes[f"adapter {name}"] = file_hash(Path(self.job.adapters[name]))
        for name, path in absorber_files(self.job, stage_index, exports).items():
            hashes[f"appearance {name}"] = file_hash(path)
        return hashes

    def check_unchanged(self, saved: dict[str, str], stage_index: int, folder: JobFolder) -> None:
        """Raises UserError naming the files that are not those of the checkpoint."""
        now = self.fingerprints(stage_index, folder.exports)
        changed = sorted(name for name in saved if saved[name] != now.get(name))
        if changed:
            raise UserError(
                folder.path,
                f"other contents than when the job began: {', '.join(changed)}",
                "the same files",
                "Put them back, or start a new job.",
            )


def _check_sets(job: Job, weights: UNetWeights, sets: dict[str, LoadedSet]) -> None:
    width = text_width(weights)
    for name in (source.set for stage in job.recipe.stages for source in stage.sources):
        if name not in sets:
            raise UserError(
                "job.json", f"no folder for the set {name!r}", "a cached set",
                "Cache a folder of pictures or clips and name it in the job.",
            )  # fmt: skip  # subject, found, expected, next move
        own = sets[name].items[0].text.shape[-1]
        if own != width:
            raise UserError(
                job.sets[name], f"text {own} wide", f"{width}, as the checkpoint reads",
                "Cache the folder again with this checkpoint.",
            )  # fmt: skip  # subject, found, expected, next move


def _read_adapters(job: Job, weights: UNetWeights) -> dict[str, Adapter]:
    adapters = {}
    for index, stage in enumerate(job.recipe.stages):
        trained = earlier(job.recipe, index, APPEARANCE) is not None
        for name in (n for n in stage.use if not (trained and n == APPEARANCE)):
            if name not in job.adapters:
                raise UserError("job.json", f"no file for {name!r}", "one", "Name an adapter.")
            path = Path(job.adapters[name])
            if name == MOTION:
                adapters[name] = load_adapter(path, kind="motion")
            else:
                merge_image_lora(weights, path)  # says now whether it fits
    return adapters
