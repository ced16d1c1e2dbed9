"""The memory that a recipe is said to need is what it then holds."""

import pytest
import torch

from helpers.real_size import motion_shapes, sd15_shapes
from helpers.reference_clips import RECIPES, customize, new_training, newmove
from helpers.small import motion_module, weights
from still_moving.adapters.files.checkpoint import UNetWeights
from still_moving.adapters.files.keys import SD15
from still_moving.adapters.files.motion_module import MotionModule, recognize
from still_moving.training.checks.budget import TEXT_ENCODER, budget
from still_moving.training.recipes import methods
from still_moving.training.stage.draws import training_draw


@pytest.mark.parametrize("name", ["customize", "vmc", "vmc, lora", "newmove"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_budget_is_what_a_step_leaves(name, dtype):
    training = new_training(RECIPES[name], dtype=dtype)
    training.advance()
    training.optimizer.zero_grad()
    draw = training_draw(0, 0, training.stage, list(map(len, training.learned_items)), 0)
    training.draw_loss(draw, training.learned_items[0]).backward()
    estimate = budget(weights(), motion_module(), RECIPES[name], 0, dtype)
    values = list(training.trainable.parameters.values())
    assert estimate.trained == sum(p.numel() for p in values)
    assert estimate.gradients == sum(p.grad.nbytes for p in values if p.grad is not None)
    moments = [t for entry in training.optimizer.state.values() for t in entry.values() if t.dim()]
    assert estimate.optimizer == sum(t.nbytes for t in moments)
    held = {t.data_ptr(): t.nbytes for t in training.unet.state_dict().values()}
    assert estimate.weights == sum(held.values())


def test_an_average_costs_as_much_as_what_is_trained():
    plain, averaged = (
        budget(weights(), motion_module(), newmove(ema=ema), 0, torch.float32) for ema in (0.0, 0.9)
    )
    assert averaged.total - plain.total == averaged.average == 4 * plain.trained


def real(version: str) -> tuple[UNetWeights, MotionModule]:
    """The real networks without their numbers."""
    with torch.device("meta"):
        unet = {name: torch.empty(shape) for name, shape in sd15_shapes().items()}
        motion = {name: torch.empty(shape) for name, shape in motion_shapes(version).items()}
    info = recognize("meta", motion)
    return UNetWeights(unet, SD15, "sd15", "", ""), MotionModule(info, motion, "", "")


def test_newmove_in_full_fits_a_card_of_24_gb():
    files = real("v2")
    recipe = methods.newmove(motion_word="pll")
    full = budget(*files, recipe, 0, torch.bfloat16)
    assert 450e6 < full.trained < 500e6
    assert full.total < 16 * 2**30  # 8 are left for activations
    alone = budget(*files, methods.newmove(motion_word="pll", keys_values=False), 0, torch.bfloat16)
    assert full.trained - alone.trained == 2 * 768 * 12_480  # channels of all cross-attention
    assert "GiB" in str(full)


def test_real_sites_are_as_many_as_the_papers():
    """Customize-A-Video states 844.8 K and 149 K for its two LoRAs on AnimateDiff."""
    look, motion = (
        budget(*real("v3"), methods.customize_a_video(), i, torch.bfloat16) for i in (0, 1)
    )
    assert motion.trained == 844_800
    assert look.trained == 149_376


def test_words_count_their_text_encoder():
    recipe = customize(absorber="both", words=("red", "circle"))
    estimates = [budget(*real("v3"), recipe, i, torch.float16).weights for i in (0, 1)]
    ours = budget(weights(), motion_module(), recipe, 0, torch.float16)
    assert estimates[0] - estimates[1] > TEXT_ENCODER - 2**25
    assert ours.weights < TEXT_ENCODER
