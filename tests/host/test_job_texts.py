"""A graph's CLIP in the worker: the file of a job reads as it does, and nothing else is taken."""

from collections.abc import Mapping
from typing import Any

import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import pytest
import torch

from helpers.host import world
from helpers.host.tiny_unet import UNET
from still_moving.adapters.host import companions
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.nodes.shared import baking
from still_moving.nodes.train.motion_trainer import with_texts
from still_moving.training.jobs.job import Job
from still_moving.training.recipes.methods import customize_a_video, vmc
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.sets.encoders import HostEncoder
from still_moving.training.sets.store import Item, LoadedSet
from still_moving.training.text.prompts import text_model

CPU = torch.device("cpu")
CAPTION = "a red dog runs"
TEXTS = ["", CAPTION, "Ein Mädchen (läuft:1.2), 猫 [x]\n<b> it's 10%", "dog " * 100]
WORDS: dict[str, Any] = {"absorber": "words", "appearance": "a red dog"}


@pytest.fixture(scope="module")
def clip() -> comfy.sd.CLIP:
    """SD1.5's text encoder, random inside, with a change on it as of a LoRA."""
    target = comfy.supported_models_base.ClipTarget(
        comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel
    )
    options = {"load_device": CPU, "offload_device": CPU, "dtype": torch.float32}
    clip = comfy.sd.CLIP(target, model_options=options)
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in clip.cond_stage_model.named_parameters():
            weight.normal_(std=0.03, generator=dice).add_("norm" in name)
    key = "clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight"
    clip.patcher.add_patches({key: ("diff", (torch.randn(768, 768, generator=dice),))}, 0.05)
    return clip


@pytest.fixture(scope="module")
def model():
    """A MODEL as wide as SD1.5's, with a few of its layers."""
    network = comfy.supported_models.SD15(
        UNET | {"model_channels": 320, "context_dim": 768, "num_heads": 8}
    ).get_model({}, "")
    return companions.patcher_class()(network, load_device=CPU, offload_device=CPU)


def encoder(clip) -> HostEncoder:
    """What Clip Set reads captions with."""
    return HostEncoder(None, clip, lambda latents: latents, id="this CLIP")


def read(clip, caption: str = CAPTION) -> Mapping[str, LoadedSet]:
    """A clip with its caption, as it is cached."""
    item = Item("0", caption, torch.zeros(16, 4, 8, 8), encoder(clip).encode_prompt(caption), "0")
    return dict.fromkeys(("clip", "appearance"), LoadedSet("clips", "this CLIP", (item,)))


def job(recipe: Recipe) -> Job:
    return Job("it", recipe, "", "", {})


@pytest.mark.parametrize("last", [None, -1, -2, -24])
def test_a_job_reads_as_its_graph(clip, model, last):
    """Whatever layer CLIP Set Last Layer chooses."""
    chosen = clip.clone()
    chosen.clip_layer(last)
    sets = read(chosen)
    with_files = with_texts(job(vmc(prompt="a dog is running")), model, chosen, sets)
    worker = text_model(with_files, "sd15", sets)
    assert worker is not None
    for text in TEXTS:
        ours = worker.encode(worker.pieces(text), {})
        assert world.difference(ours, encoder(chosen).encode_prompt(text)) < 1e-4


@pytest.mark.parametrize(
    "recipe", [vmc(prompt="it runs"), customize_a_video(words=("red", "dog"), absorber="both")]
)
def test_texts_without_a_clip_are_refused(clip, model, recipe):
    with pytest.raises(UserError, match="clip: found nothing, expected the CLIP"):
        with_texts(job(recipe), model, None, read(clip))


def test_without_texts_no_clip_is_needed(clip, model):
    for recipe in (vmc(), customize_a_video()):
        assert with_texts(job(recipe), model, None, read(clip)) == job(recipe)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("red", "cat"), "caption 'a red dog': found no 'cat', expected every describing word"),
        (("red", "dog", "runs"), "caption 'a red dog': found no 'runs'"),
        (("red", "a dog of the small sort"), "tokens, expected words of 2 to 6"),
    ],
)
def test_words_are_refused_that_a_caption_lacks(clip, model, words, message):
    with pytest.raises(UserError, match=message):
        with_texts(job(customize_a_video(words=words, **WORDS)), model, clip, read(clip))


def test_a_word_that_only_the_appearance_has_is_refused(clip, model):
    recipe = customize_a_video(words=("red", "dog"), **WORDS)
    with pytest.raises(UserError, match="caption 'a red one runs': found no 'dog'"):
        with_texts(job(recipe), model, clip, read(clip, "a red one runs"))
    with_texts(job(recipe), model, clip, read(clip))


def test_the_clip_of_another_checkpoint_is_refused(clip, model):
    recipe, skipping = vmc(prompt="it runs"), clip.clone()
    skipping.clip_layer(-2)
    with pytest.raises(UserError, match="another text encoder"):
        with_texts(job(recipe), model, skipping, read(clip))
    with pytest.raises(UserError, match=r"SD1\.5"):
        baking.bake_clip(load_clip())
