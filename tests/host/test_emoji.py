"""The emoji world in ComfyUI's own classes."""

import comfy.sd
import comfy.taesd.taesd
import pytest
import torch

from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.host.motion_module import apply_motion_module, load_motion_module
from still_moving.adapters.worlds.model import load_model
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.demo.emoji.vae import decode, encode, load_vae, new_vae, save_vae
from still_moving.demo.image_model import image_model, load_image_model, save_image_model
from still_moving.demo.motion_model import new_motion_module, save_motion_module
from still_moving.training.network.unet import build_unet
from still_moving.worlds.known import EMOJI
from still_moving.worlds.shapes.files import BASE, WEIGHTS

pytestmark = pytest.mark.every_comfyui


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An image model, a motion module and a VAE of the emoji world, untrained."""
    folder = tmp_path_factory.mktemp("emoji")
    torch.manual_seed(0)
    paths = [folder / f"{name}.safetensors" for name in ("base", "motion", "vae")]
    save_image_model(paths[0], image_model(EMOJI), EMOJI)
    module = new_motion_module(EMOJI, torch.Generator().manual_seed(0))
    unet = build_unet(read_unet(paths[0]), module, torch.float32, torch.device("cpu"))
    save_motion_module(paths[1], unet, EMOJI)
    save_vae(paths[2], new_vae(8))
    return paths


def test_files_say_which_world_they_are_of(files):
    assert read_unet(files[0]).base == "emoji"
    assert read_motion_module(files[1]).info.version == "emoji"


def test_the_model_predicts_what_the_training_network_predicts(files):
    x, t = torch.randn(2, 4, 16, 16), torch.tensor([10, 900])
    text = torch.stack([EMOJI.words.encode(prompt) for prompt in ("cat face, 3d, sky", "")])
    ours = load_model(files[0]).model.diffusion_model(x, t, context=text)
    theirs = load_image_model(files[0]).eval()(x, t, text).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_its_words_are_those_of_training():
    clip = load_clip(EMOJI)
    found = clip.encode_from_tokens(clip.tokenize("cat face, 3d, sky"))
    assert torch.equal(found[0], EMOJI.words.encode("cat face, 3d, sky"))


def test_comfyuis_own_loader_reads_the_vae_at_sd15s_scale(files):
    tensors, metadata = comfy.utils.load_torch_file(str(files[2]), return_metadata=True)
    vae = comfy.sd.VAE(sd=tensors, metadata=metadata)
    vae.throw_exception_if_invalid()
    assert isinstance(vae.first_stage_model, comfy.taesd.taesd.TAESD)
    pixels = torch.rand(1, 64, 64, 3)
    own, model = load_vae(files[2]), load_model(files[0])
    latents = model.model.process_latent_in(vae.encode(pixels))
    torch.testing.assert_close(latents, encode(own, pixels.movedim(-1, 1)), atol=1e-3, rtol=1e-3)
    seen = vae.decode(model.model.process_latent_out(latents))
    torch.testing.assert_close(seen.movedim(-1, 1), decode(own, latents), atol=1e-3, rtol=1e-3)


def test_another_worlds_motion_module_is_refused_by_name(files):
    module = load_motion_module(files[1])
    assert apply_motion_module(load_model(files[0]), module)
    with pytest.raises(UserError, match=r"the emoji world.*shapes"):
        apply_motion_module(load_model(WEIGHTS / BASE), module)
