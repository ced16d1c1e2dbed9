"""Customize-A-Video, VMC and NewMove: what they are, what they change, what they leave alone."""

import dataclasses
import re

import pytest
import torch

from helpers.reference_clips import (
    OTHERS,
    RECIPES,
    WORDS,
    new_job,
    new_training,
    newmove,
    vmc,
    write_sets,
)
from helpers.small import (
    CPU,
    differences,
    motion_module,
    new_unet,
    prediction,
    weights,
    write_files,
)
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.motion_weights import load_motion_weights
from still_moving.adapters.files.tensors import read_tensors
from still_moving.adapters.low_rank import merge_lora
from still_moving.training.network.inversion import with_motion
from still_moving.training.network.unet import build_unet
from still_moving.training.recipes import methods
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.stage.checkpoints import load_checkpoint
from still_moving.training.stage.draws import Draw
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {**write_files(folder), **write_sets(folder)}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_its_json(name):
    assert Recipe.from_json(RECIPES[name].to_json()) == RECIPES[name]


def test_the_papers_numbers_are_the_defaults():
    look, motion = methods.customize_a_video(absorber="both", words=WORDS).stages
    assert (look.train, look.rank, look.sources[0].view) == ("spatial.qkv+words", 1, "frame")
    assert (motion.train, motion.rank, motion.use) == ("temporal.qkv", 4, ("appearance",))
    (stage,) = methods.vmc().stages
    assert (stage.train, stage.steps, stage.lr, stage.loss) == (
        *("temporal.qkv.full", 400, 1e-4),
        "residual_cosine",
    )
    recipe = methods.newmove(motion_word="pll")
    (stage,) = recipe.stages
    assert (stage.train, stage.coarse, recipe.batch) == ("temporal.all+kv", 0.5, 2)
    assert [source.set for source in stage.sources] == ["motion", "regularization"]
    assert {stage.noise.offset for stage in (look, motion, stage)} == {0.0}


QKV = r".*motion_modules.*\.attn[12]\.to_[qkv]"
TRAINED = {
    "customize": r".*\.attentions\..*\.attn[12]\.to_[qkv]\.lora_[AB]\.appearance\.weight",
    "customize, words": "nothing",
    "vmc": rf"{QKV}\.weight",
    "vmc, lora": rf"{QKV}\.lora_[AB]\.motion\.weight",
    "vmc, spatial": r".*\.attentions\..*\.attn[12]\.to_[qkv]\.lora_[AB]\.appearance\.weight",
    "newmove": r".*motion_modules.*(weight|bias)|.*\.attentions\..*\.attn2\.to_[kv]\.weight",
    "newmove, alone": r".*motion_modules.*(weight|bias)",
}


@pytest.mark.parametrize("name", TRAINED)
def test_only_the_named_parameters_train(name):
    training = new_training(RECIPES[name])
    before = {k: v.detach().clone() for k, v in training.unet.state_dict().items()}
    values = {k: v.detach().clone() for k, v in training.trainable.parameters.items()}
    for _ in range(3):
        assert not training.advance().skipped
    assert differences(values, training.trainable.parameters) == list(values)
    changed = differences(before, training.unet.state_dict())
    expected = [n for n in before if re.fullmatch(TRAINED[name], n)]
    assert changed == expected
    if name != "customize, words":
        assert len(changed) == len(values) > 0


def lives(folder, *steps: tuple[int, int]) -> None:
    """Run a job, ending it in the middle of things after each (stage, step)."""
    for place in steps:

        def watch(event: dict, place=place) -> None:
            if event["event"] == "step" and (event["stage"], event["step"]) == place:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_job(folder, watch)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_an_interrupted_job_is_the_uninterrupted_one(tmp_path, files, name):
    recipe = RECIPES[name]
    whole, torn = (new_job(tmp_path / place, recipe, files) for place in ("whole", "torn"))
    assert run_job(whole) == FINISHED, whole.read_state().message
    lives(torn, *((s, n) for s in range(len(recipe.stages)) for n in (1, 3)))
    assert run_job(torn) == FINISHED
    ours, theirs = (load_checkpoint(job.checkpoints) for job in (whole, torn))
    assert ours is not None
    assert theirs is not None
    assert differences(ours.tensors, theirs.tensors) == []
    assert differences(ours.optimizer, theirs.optimizer) == []
    names = sorted(path.name for path in whole.exports.iterdir())
    assert names == sorted(path.name for path in torn.exports.iterdir())
    for name in names:
        one, other = (read_tensors(job.exports / name) for job in (whole, torn))
        assert differences(one[0], other[0]) == []
        assert one[1] == other[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vmc", "newmove"])
def test_full_weights_load_back_as_the_network_that_was_trained(tmp_path, files, name):
    job = new_job(tmp_path / "job", RECIPES[name], files)
    assert run_job(job) == FINISHED
    learned = load_motion_weights(job.exports / "made.safetensors")
    assert (learned.info.sites, learned.info.base) == (RECIPES[name].stages[0].train, "shapes")
    assert learned.info.token == RECIPES[name].token
    read, module = read_unet(files["checkpoint"]), read_motion_module(files["motion_module"])
    loaded = build_unet(*with_motion(read, module, learned, "file"), torch.float32, CPU)
    trained = build_unet(read, module, torch.float32, CPU)
    checkpoint = load_checkpoint(job.checkpoints)
    assert checkpoint is not None
    parameters = dict(trained.named_parameters())
    for key, tensor in checkpoint.tensors.items():
        parameters[key].data = tensor
    base = prediction(build_unet(read, module, torch.float32, CPU))
    ours, expected = prediction(loaded), prediction(trained)
    assert (ours - expected).norm() < 1e-3 * (expected - base).norm()
    assert (expected - base).norm() > 1e-3 * base.norm()


def test_stacked_motion_loras_commute():
    trainables = [new_training(RECIPES["vmc, lora"]).trainable for _ in range(2)]
    for seed, trainable in enumerate(trainables, 1):
        generator = torch.Generator().manual_seed(seed)
        for parameter in trainable.parameters.values():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    loras = [trainable.low_rank(dict(trainable.parameters)) for trainable in trainables]
    stacked = []
    for order in (loras, loras[::-1]):
        tensors = dict(motion_module().tensors)
        for pairs in order:
            for layer, pair in pairs.items():
                key = f"{layer}.weight"
                tensors[key] = merge_lora(tensors[key], pair, 1.0).detach()
        module = dataclasses.replace(motion_module(), tensors=tensors)
        stacked.append(prediction(build_unet(weights(), module, torch.float32, CPU)))
    assert torch.allclose(*stacked, atol=1e-4)
    assert not torch.allclose(stacked[0], prediction(new_unet()), atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["customize, both", "vmc", "newmove"])
def test_half_precision_trains_fp32_values(name, dtype):
    training = new_training(RECIPES[name], dtype=dtype)
    steps = [training.advance() for _ in range(2)]
    assert not any(step.skipped for step in steps)
    assert {p.dtype for p in training.trainable.parameters.values()} == {torch.float32}


def test_backward_motion_is_the_reversed_clip():
    forward, reverse = new_training(vmc()), new_training(vmc(backward=True))
    clip = forward.items[0][0].latents
    flipped = dataclasses.replace(forward.items[0][0], latents=clip.flip(0))
    draw = Draw(0, 0, 0.0, 500, 7)
    ours = reverse.draw_loss(draw, [reverse.items[0][0]])
    # A start of 0 counts from the clip's own beginning: take the flipped clip's other end.
    end = dataclasses.replace(draw, frame=0.99)
    assert ours.item() == forward.draw_loss(end, [flipped]).item()
    assert ours.item() != forward.draw_loss(draw, [forward.items[0][0]]).item()


def test_newmove_shows_a_motion_and_another_clip_in_every_step():
    training = new_training(newmove())
    seen = []
    inner = training.draw_loss
    training.draw_loss = lambda draw, items: seen.append(draw.source) or inner(draw, items)
    for _ in range(3):
        training.advance()
    assert seen == [0, 1] * 3
    assert {item.caption for item in training.items[1]} == {item.caption for item in OTHERS.items}
