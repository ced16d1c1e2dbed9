"""What to train, as data: stages, sites, sources and every number of the method.

Only the standard library, because ComfyUI's process reads recipes too. The defaults are those
of the paper (Still-Moving, arXiv:2407.08674, section 4 and supplement, AnimateDiff); the choices
that its text leaves open are named where they are made.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ...common.errors import UserError
from ...common.names import check_kept_name
from .parse import parse
from .sites import MOTION, SITES, Site, SiteName

View = Literal["frozen", "clip", "backward", "frame"]
Loss = Literal["epsilon_mse", "residual_cosine", "residual_official", "residual_l2"]
Tier = Literal["auto", "none", "top", "two", "all"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Prediction = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True)
class Source:
    """Where samples come from: a cached set, how an item is seen, and the scales meanwhile."""

    set: str  # the job says which folder this name stands for
    # "frozen": one frame for the whole clip; "clip": the frames as they move; "backward": the
    # same from last to first; "frame": one frame by itself, past every temporal layer.
    view: View
    # Of adapters, by name; absent means 0.
    scales: dict[str, float] = field(default_factory=dict[str, float])
    weight: int = 1  # share of the samples, relative to the other sources
    prompt: str = ""  # for every item, in place of its caption
    crop: float = 1.0  # smallest side of a random patch of a "frame", of its own; 1: no patch
    single: bool = False  # the set must hold exactly one item
    says: Literal["anything", "motion", "token"] = "anything"  # what its captions must name

    @property
    def moves(self) -> bool:
        """Whether a sample shows several frames of an item."""
        return self.view in ("clip", "backward")


@dataclass(frozen=True)
class Noise:
    """Gaussian noise plus an offset per channel that all frames share, so it cannot flicker."""

    offset: float = 0.1


@dataclass(frozen=True)
class Stage:
    """One optimization: what is trained, on what, for how long."""

    name: str
    train: SiteName
    sources: tuple[Source, ...]
    steps: int
    rank: int = 4  # of the low-rank adapters; without meaning for "spatial.all"
    lr: float = 2e-5
    use: tuple[str, ...] = ()  # finished adapters held fixed; the job says which files
    noise: Noise = Noise()
    loss: Loss = "epsilon_mse"
    mse_weight: float = 0.0  # of epsilon_mse beside a residual loss
    coarse: float = 0.0  # a of p(t) = (1 - a cos(pi t / T)) / T; 0 draws timesteps evenly
    # Weigh the loss of a timestep by the root of noise over signal (arXiv:2310.08442): where
    # things are is decided at high noise, where an error of the noise is small and costs much.
    debiased: bool = False
    words: tuple[str, ...] = ()  # describing words whose embeddings are trained
    words_lr: float = 5e-3

    @property
    def site(self) -> Site:
        """What ``train`` stands for."""
        return SITES[self.train]

    @property
    def has_motion_adapter(self) -> bool:
        """Whether the network has a Motion Adapter, trained or held, whose scale sources choose."""
        return self.site.trains_motion_adapter or MOTION in self.use


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but its files."""

    name: str
    stages: tuple[Stage, ...]
    frames: int = 16
    batch: int = 1  # samples a step, one after the other
    seed: int = 0
    dtype: Dtype = "auto"
    tier: Tier = "auto"  # how much of the network is computed twice to save memory
    weight_decay: float = 1e-2  # the paper names no optimizer: AdamW with torch's betas
    clip_norm: float = 1.0
    ema: float = 0.0  # decay of the moving average of the weights; 0 is off
    save_every: int = 50
    held_out_every: int = 50
    held_out: int = 8  # fixed (item, timestep, noise) triples
    max_skips: int = 10  # non-finite steps in a row before the run stops
    token: str = ""  # the rare word that stands for a motion; its embedding is not trained
    check_captions: bool = True  # whether captions must say what their sources ask
    # What the image model predicts, in diffusers' words, and whether its schedule is rescaled to
    # end in pure noise (arXiv:2305.08891). Written only where they are not SD1.5's own.
    prediction: Prediction = "epsilon"
    zero_snr: bool = False

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data; without the fields of later versions where they say nothing."""
        data = dataclasses.asdict(self)
        data["stages"] = [_without_later(stage, _LATER_OF_STAGES) for stage in data["stages"]]
        return _without_later(data, _LATER)

    def to_json(self) -> str:
        return json.dumps(self.to_data(), indent=2)

    @classmethod
    def from_json(cls, text: str, origin: str = "recipe") -> Recipe:
        """Parse and validate. Raises UserError naming the field, what it is and what fits."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # absurd numbers and nesting included
            raise UserError(
                origin, f"no JSON ({error})", "a recipe", "Export it again or start from a default."
            ) from None
        return validate(parse(cls, data, origin), origin)


# Older versions refuse fields that they do not know.
_LATER: dict[str, Any] = {"prediction": "epsilon", "zero_snr": False}
_LATER_OF_STAGES: dict[str, Any] = {"debiased": False}


def _without_later(data: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k not in later or v != later[k]}


def motion_adapter(*, frames: int = 16, **overrides: Any) -> Recipe:
    """Still-Moving's Motion Adapter (section 3.2, eq. 3): frozen clips at scale 1."""
    stage = Stage(
        name="motion",
        train="temporal.qkv",
        rank=4,
        steps=4000,
        sources=(Source("frames", "frozen", {"motion": 1.0}),),
    )
    return override(Recipe("motion adapter", (stage,), frames=frames), overrides)


def spatial_adapter(
    *,
    sites: Literal["layers", "blocks", "all"] = "layers",
    motion_adapter: bool = True,
    natural_clips: bool = True,
    prior_scale: float = 0.0,
    frames: int = 16,
    **overrides: Any,
) -> Recipe:
    """Still-Moving's Spatial Adapter (section 3.3, eq. 4) and, as switches, its ablations.

    Frozen customized images with the Motion Adapter at scale 1 and natural clips at
    ``prior_scale``, one to one. The ablations of section 4.3: ``motion_adapter=False``,
    ``natural_clips=False``, ``sites="all"`` (every spatial weight instead of adapters).
    """
    on = {"motion": 1.0} if motion_adapter else {}
    prior = {"motion": prior_scale} if motion_adapter else {}
    sources = [Source("customized", "frozen", on)]
    if natural_clips:
        sources.append(Source("natural", "clip", prior))
    stage = Stage(
        name="spatial",
        train=typing.cast(SiteName, f"spatial.{sites}"),
        rank=64,
        steps=600,
        use=("motion",) if motion_adapter else (),
        sources=tuple(sources),
    )
    return override(Recipe("spatial adapter", (stage,), frames=frames), overrides)


DEFAULTS = {"motion": motion_adapter, "spatial": spatial_adapter}


def override(recipe: Recipe, overrides: dict[str, Any]) -> Recipe:
    """Replace fields of the recipe or, by the same name, of its stages."""
    stage_fields = {f.name for f in dataclasses.fields(Stage)}
    in_stage = {k: v for k, v in overrides.items() if k in stage_fields - {"name"}}
    in_recipe = {k: v for k, v in overrides.items() if k not in in_stage}
    stages = tuple(dataclasses.replace(stage, **in_stage) for stage in recipe.stages)
    return validate(dataclasses.replace(recipe, stages=stages, **in_recipe), recipe.name)


def validate(recipe: Recipe, origin: str) -> Recipe:
    """Check ranges and references; returns the recipe. Raises UserError at the first misfit."""

    def need(ok: bool, name: str, found: object, expected: str) -> None:
        if not ok:
            raise UserError(origin, f"{name} = {found!r}", expected, f"Change {name}.")

    need(1 <= recipe.frames <= 1024, "frames", recipe.frames, "1 to 1024")
    need(1 <= recipe.batch <= 64, "batch", recipe.batch, "1 to 64")
    need(0 <= recipe.ema < 1, "ema", recipe.ema, "0 (off) up to 1")
    need(0 < recipe.clip_norm < math.inf, "clip_norm", recipe.clip_norm, "a number above 0")
    need(0 <= recipe.weight_decay <= 1, "weight_decay", recipe.weight_decay, "0 to 1")
    need(0 <= recipe.seed < 2**63, "seed", recipe.seed, "0 up to 2**63")
    for name in ("save_every", "held_out_every", "max_skips"):
        need(getattr(recipe, name) >= 1, name, getattr(recipe, name), "1 or more")
    need(recipe.held_out >= 0, "held_out", recipe.held_out, "0 or more")
    # There, the noise says nothing of the clean clip: epsilon could not be learned from.
    fits = recipe.prediction == "v_prediction" or not recipe.zero_snr
    need(fits, "zero_snr", recipe.zero_snr, "false, unless prediction is v_prediction")
    need(bool(recipe.stages), "stages", recipe.stages, "at least one stage")
    one = len(recipe.token.split()) == 1 and recipe.token == recipe.token.strip()
    uses_token = any(source.says == "token" for stage in recipe.stages for source in stage.sources)
    need(one or not (uses_token or recipe.token), "token", recipe.token, "one word")
    for stage in recipe.stages:
        check_kept_name(stage.name, f"{origin}: stage name")
        _validate_stage(stage, recipe.frames, need)
        for source in stage.sources:
            _validate_source(source, stage, need)
    return recipe


Need = Callable[[bool, str, object, str], None]  # (ok, field, found, expected)


def _validate_stage(stage: Stage, frames: int, need: Need) -> None:
    need(stage.train in SITES, "train", stage.train, f"one of {', '.join(SITES)}")
    need(bool(stage.sources), "sources", stage.sources, "at least one source")
    need(1 <= stage.steps <= 1_000_000, "steps", stage.steps, "1 to 1,000,000")
    need(1 <= stage.rank <= 1024, "rank", stage.rank, "1 to 1024")
    need(0 < stage.lr <= 1, "lr", stage.lr, "above 0 and at most 1")
    need(0 < stage.words_lr <= 1, "words_lr", stage.words_lr, "above 0 and at most 1")
    need(0 <= stage.noise.offset <= 1, "noise.offset", stage.noise.offset, "0 to 1")
    need(0 <= stage.coarse <= 1, "coarse", stage.coarse, "0 to 1")
    need(0 <= stage.mse_weight <= 1000, "mse_weight", stage.mse_weight, "0 to 1000")
    # Absorbers under a motion, a Motion Adapter under a look. "appearance" is the result of an
    # earlier stage of that name, or else a file that the job names.
    usable = stage.site.may_hold
    need(stage.use in ((), usable), "use", stage.use, f"nothing or {usable}")
    moves = frames > 1 and all(source.view != "frame" for source in stage.sources)
    need(stage.loss == "epsilon_mse" or moves, "loss", stage.loss, "epsilon_mse: nothing moves")
    counted = 2 <= len(set(stage.words)) == len(stage.words) <= 6 and all(stage.words)
    fits = counted if stage.site.words else not stage.words
    need(fits, "words", stage.words, "2 to 6 different ones, where words are trained")
    prompts = {(source.set, source.prompt) for source in stage.sources}
    sets = {source.set for source in stage.sources}
    need(len(prompts) == len(sets), "prompt", sorted(prompts), "one for each set")


def _validate_source(source: Source, stage: Stage, need: Need) -> None:
    need(1 <= source.weight <= 1000, "weight", source.weight, "1 to 1000")
    need(0 < source.crop <= 1, "crop", source.crop, "above 0 and at most 1")
    still = source.view == "frame"
    need(source.crop == 1 or still, "crop", source.crop, "1, except for view 'frame'")
    need(
        not (still and stage.site.temporal), "view", source.view, "a clip, to train temporal layers"
    )
    need(all(map(math.isfinite, source.scales.values())), "scales", source.scales, "finite numbers")
    # The Spatial Adapter that is trained is always at 1: it has no scale to choose.
    known = {MOTION} if stage.has_motion_adapter else set[str]()
    extra = set(source.scales) - known
    need(not extra, "scales", sorted(extra), f"adapters in this stage: {sorted(known)}")
