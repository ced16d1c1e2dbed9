"""One layer, three names: ours agree with diffusers' converters and models, both ways."""

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_animatediff_checkpoint_to_diffusers,
    convert_ldm_unet_checkpoint,
)

from helpers.real_size import motion_shapes, sd15_shapes
from helpers.small_files import MODULE_SHAPES, spellings
from still_moving.adapters.files import keys
from still_moving.adapters.files.keys import SD15, UNetLayout
from still_moving.adapters.files.lora_keys import plain, take_apart
from still_moving.adapters.files.templates import unet_shapes

LAYOUTS = [
    SD15,
    UNetLayout(2, 1, (True, True)),
    UNetLayout(1, 2, (True,)),
    UNetLayout(3, 1, (False, True, False)),
    UNetLayout(2, 3, (True, False)),
]


def diffusers_unet(layout: UNetLayout) -> UNet2DConditionModel:
    down = ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in layout.attention]
    up = ["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(layout.attention)]
    with torch.device("meta"):
        return UNet2DConditionModel(
            block_out_channels=(32,) * layout.levels,
            layers_per_block=layout.layers_per_block,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            cross_attention_dim=16,
            attention_head_dim=8,
        )


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_key_of_a_diffusers_unet_has_one_ldm_name_and_comes_back(layout):
    model = diffusers_unet(layout).state_dict()
    ldm = {layout.to_ldm(name): tuple(tensor.shape) for name, tensor in model.items()}
    assert len(ldm) == len(model)
    assert [layout.to_diffusers(name) for name in ldm] == list(model)
    assert ldm == unet_shapes(layout, 32, (1,) * layout.levels, 16)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_names_agree_with_diffusers_own_converter(layout):
    shapes = sd15_shapes() if layout == SD15 else unet_shapes(layout, 32, (1,) * layout.levels, 16)
    labels = {f"model.diffusion_model.{name}": name for name in shapes}
    converted = convert_ldm_unet_checkpoint(labels, {"layers_per_block": layout.layers_per_block})
    assert converted == {layout.to_diffusers(name): name for name in shapes}


def test_the_real_table_of_sd15_is_a_bijection():
    table = sd15_shapes()
    assert len(table) == 686
    renamed = {SD15.to_diffusers(name) for name in table}
    assert len(renamed) == 686
    assert {SD15.to_ldm(name) for name in renamed} == set(table)
    assert unet_shapes(SD15, 320, (1, 2, 4, 4), 768) == table


def test_layers_and_blocks_are_renamed_without_a_suffix_too():
    assert SD15.to_diffusers("input_blocks.1.1.proj_out") == "down_blocks.0.attentions.0.proj_out"
    assert SD15.to_diffusers("output_blocks.2.1.conv") == "up_blocks.0.upsamplers.0.conv"
    assert SD15.to_ldm("up_blocks.1.upsamplers.0.conv") == "output_blocks.5.2.conv"
    assert SD15.to_ldm("down_blocks.3.resnets.1") == "input_blocks.11.0"
    for ldm, diffusers, _ in SD15.blocks():
        assert SD15.to_ldm(diffusers) == ldm
        assert SD15.to_diffusers(ldm) == diffusers


@pytest.mark.parametrize(
    "name",
    [
        "",
        "input_blocks.3.0.in_layers.0.weight",  # the downsampler's place
        "input_blocks.12.0",
        "input_blocks.10.1.norm.weight",  # no attention on the coarsest level
        "input_blocks.1.1.transformer_blocks.0.attn3.to_q",
        "input_blocks.1.0.proj_in",
        "output_blocks.5.1.conv",
        "label_emb.0.0.weight",
        "model.diffusion_model.input_blocks.0.0.weight",
    ],
)
def test_an_unknown_name_is_refused_by_name(name):
    with pytest.raises(KeyError) as error:
        SD15.to_diffusers(name)
    assert error.value.args == (name,)


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "AnimateLCM"])
def test_motion_names_agree_with_diffusers_converter_and_model(version):
    names = list(motion_shapes(version))
    plain = [name for name in names if not name.endswith(".pe")]
    ours = {keys.motion_to_diffusers(name): name for name in plain}
    assert ours == convert_animatediff_checkpoint_to_diffusers({name: name for name in plain})
    assert {keys.motion_to_animatediff(name): name for name in ours} == {
        v: k for k, v in ours.items()
    }
    with torch.device("meta"):
        model = MotionAdapter(use_motion_mid_block=version in ("v2", "AnimateLCM")).state_dict()
    positions = {name for name in model if name.endswith("pos_embed.pe")}
    assert set(ours) | positions == set(model)
    if version != "AnimateLCM":
        pairs = [keys.animatediff_positions(name) for name in positions]
        assert {name for pair in pairs for name in pair} == set(names) - set(plain)
        assert {keys.motion_to_diffusers(name) for pair in pairs for name in pair} == positions


def test_a_position_table_has_two_animatediff_names_and_never_silently_one():
    name = "mid_block.motion_modules.0.transformer_blocks.0.pos_embed.pe"
    with pytest.raises(KeyError):
        keys.motion_to_animatediff(name)
    assert len(set(keys.animatediff_positions(name))) == 2
    with pytest.raises(KeyError):
        keys.animatediff_positions("mid_block.motion_modules.0.proj_in.weight")


def test_motion_layers_are_renamed_without_a_suffix_too():
    layer = "up_blocks.1.motion_modules.2.temporal_transformer.transformer_blocks.0.ff_norm"
    renamed = "up_blocks.1.motion_modules.2.transformer_blocks.0.norm3"
    assert keys.motion_to_diffusers(layer) == renamed
    assert keys.motion_to_animatediff(renamed) == layer


ATTENTION = [
    name.removesuffix(".weight")
    for name in MODULE_SHAPES
    if ".attention_blocks." in name and name.endswith(".weight")
]


def parsed(key: str) -> tuple[str, str]:
    """(layer in AnimateDiff naming, part) of a key of a motion LoRA."""
    apart = take_apart(key)
    assert apart is not None
    return keys.motion_layer(plain(apart.path)), apart.part


@pytest.mark.parametrize("form", spellings(ATTENTION[0]))
def test_every_form_of_motion_lora_names_the_same_layer(form):
    for layer in ATTENTION:
        down, up = spellings(layer)[form]
        assert parsed(down) == (layer, "down")
        assert parsed(up) == (layer, "up")


def test_motion_lora_keys_are_animatediffs_own():
    for layer in ATTENTION:
        assert list(keys.motion_lora_keys(layer)) == spellings(layer)["AnimateDiff"]
    with pytest.raises(KeyError):
        keys.motion_lora_keys("input_blocks.1.1.proj_out")
    with pytest.raises(KeyError):
        keys.motion_lora_keys(ATTENTION[0] + ".0")


def test_alpha_is_found_in_the_forms_that_have_one():
    layer = ATTENTION[0]
    peft = spellings(layer)["peft"][0].replace("lora_A.weight", "alpha")
    kohya = spellings(layer)["kohya"][0].replace("lora_down.weight", "alpha")
    assert parsed(peft) == (layer, "alpha")
    assert parsed(kohya) == (layer, "alpha")


def test_a_lora_of_image_attention_is_no_motion_lora():
    with pytest.raises(KeyError):
        parsed(
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight"
        )
