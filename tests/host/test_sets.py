"""Training sets from pictures, folders and models; and the weights a job is given."""

import av
import numpy as np
import pytest
import torch

from helpers.host import world
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.demo import world as shapes
from still_moving.demo.data import to_images
from still_moving.demo.reference import reference_clip
from still_moving.nodes.sets import folders as sets
from still_moving.nodes.sets.folders import ClipSet, ImageSet
from still_moving.nodes.sets.generate import prompts_for
from still_moving.nodes.sets.pictures import captions_for
from still_moving.nodes.shared import baking, folders, places, writer
from still_moving.training.sets.keeping import save_clip
from still_moving.training.sets.store import load_set
from still_moving.worlds.shapes import latents
from still_moving.worlds.shapes.files import BASE, CLIPS, LORAS, NATURAL_CLIPS, WEIGHTS

SIZE = {"width": 128, "height": 128, "crop": "centre"}
SCENES = shapes.spread(shapes.all_scenes(), 3)


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")
    return tmp_path / "user"


def clip_set(**inputs):
    """What Clip Set gives: the set, and the frames of its first clip."""
    given = {"folder": "", "captions": "", "frames": 8, "fps": 0.0, "stride": 1, **SIZE, **inputs}
    return ClipSet.execute(clip=load_clip(), vae=ShapesVAE(), **given).result


def batch(count: int = 3) -> torch.Tensor:
    """IMAGE: clean pictures of the world."""
    generator = torch.Generator().manual_seed(0)
    stills = torch.stack([shapes.make_still(s, generator) for s in SCENES[:count]])
    return latents.enlarge(stills, latents.FACTOR).permute(0, 2, 3, 1)


def image_set(**inputs):
    output = ImageSet.execute(clip=load_clip(), vae=ShapesVAE(), **{"folder": "", **SIZE, **inputs})
    return output.result[0]


def test_an_image_set_holds_what_the_encoder_makes_of_the_pictures():
    captions = "\n".join(scene.prompt for scene in SCENES)
    cached = image_set(images=batch(), captions=captions)
    loaded = load_set(cached.folder)
    assert (cached.kind, cached.count, cached.frames) == ("stills", 3, 1)
    eight_bits = (batch() * 255).round() / 255
    for item, picture, scene in zip(loaded.items, eight_bits, SCENES, strict=True):
        expected = latents.encode_image(picture.permute(2, 0, 1)[None])
        assert torch.allclose(item.latents, expected, atol=1e-6)
        assert item.caption == scene.prompt
        assert torch.equal(item.text, latents.encode_prompt(scene.prompt))


def test_the_same_pictures_are_one_set_and_others_another():
    first = image_set(images=batch(), captions="red circle left night")
    again = image_set(images=batch(), captions="red circle left night")
    other = image_set(images=batch(), captions="blue circle left night")
    assert first.folder == again.folder != other.folder


def test_a_folder_that_changes_leaves_the_set_of_before(tmp_path):
    folder = tmp_path / "pictures ö"
    folder.mkdir()
    for i, image in enumerate(to_images(batch().permute(0, 3, 1, 2)[..., ::8, ::8])):
        image.save(folder / f"{i}.png")
    before = image_set(folder=str(folder), captions="red circle left night")
    (folder / "0.png").unlink()
    after = image_set(folder=f'"{folder}"', captions="red circle left night")
    assert (before.count, after.count) == (3, 2)
    assert len(load_set(before.folder).items) == 3


def test_a_clip_set_cuts_a_batch_into_clips():
    clips = batch(2).repeat_interleave(4, dim=0)
    cached, shown = clip_set(clips=clips, captions="red circle left night", frames=4)
    assert (cached.kind, cached.count, cached.frames) == ("clips", 2, 4)
    assert torch.equal(shown, (clips[:4] * 255).round() / 255)
    first, second = (item.latents for item in load_set(cached.folder).items)
    assert torch.equal(first[0], first[3])
    assert not torch.equal(first[0], second[0])


def test_each_folder_of_the_pack_is_a_set_by_its_name():
    counts = {name: clip_set(folder=name)[0].count for name in folders.demo_clips()}
    assert counts == {"demo: circle": 1, "demo: natural": 16, "demo: newmove circle": 6}


def test_the_first_clip_comes_out_as_it_is_trained_on():
    cached, shown = clip_set(folder=' "demo: circle" ')
    (item,) = load_set(cached.folder).items
    assert torch.allclose(latents.encode_image(shown.permute(0, 3, 1, 2)), item.latents, atol=1e-6)
    drawn = latents.enlarge(reference_clip("circle").frames).permute(0, 2, 3, 1)
    assert torch.equal(shown, drawn.mul(255).round() / 255)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "none", "circle/..", "circle/../natural", "../weights", "..\\weights", "/tmp"],
)
def test_no_name_leads_out_of_the_packs_clips(name):
    with pytest.raises(UserError, match="'demo: circle', 'demo: natural'"):
        sets.resolve_folder(f"demo: {name}")
    with pytest.raises(UserError, match="'demo: circle', 'demo: natural'"):
        sets.resolve_folder(f"demo:{name}")


def test_a_folder_of_the_pack_may_be_written_without_the_space():
    for text in ("demo: natural", "demo:natural", ' "demo:  natural" '):
        assert sets.resolve_folder(text) == CLIPS / NATURAL_CLIPS


def test_wrong_inputs_are_said():
    with pytest.raises(UserError, match="neither"):
        image_set(captions="")
    with pytest.raises(UserError, match="both"):
        image_set(images=batch(), folder="somewhere", captions="")
    with pytest.raises(UserError, match="2 lines for 3 pictures"):
        captions_for("one\ntwo", 3)
    assert captions_for("one\u2028line\r\n", 2) == ["one\u2028line"] * 2
    with pytest.raises(UserError, match="no folder"):
        image_set(folder="no such folder", captions="")


@pytest.mark.parametrize(("name", "value"), [("fps", 8.0), ("stride", 2)])
def test_connected_frames_have_no_rate_to_choose_by(name, value):
    clips = batch(2).repeat_interleave(4, dim=0)
    with pytest.raises(UserError, match=f"{name}: found {value:g}, .* for connected frames"):
        clip_set(clips=clips, captions="red circle left night", frames=4, **{name: value})


@pytest.mark.parametrize(
    ("make", "count", "name"), [(image_set, 3, "images"), (clip_set, 1, "clips")]
)
def test_an_error_names_what_was_connected(make, count, name):
    captions = "\n".join(["red circle left night"] * (count - 1) + ["too " * 20])
    frames = {} if make is image_set else {"frames": 3}
    with pytest.raises(UserError, match=f"^{name}, the one with number {count}: found 20 words"):
        make(**{name: batch(), "captions": captions, **frames})


def test_prompts_are_used_in_turn_with_their_places_filled():
    prompts = prompts_for("a [V*] [class]\n\n[class] alone ", "sks", "dog", 3)
    assert prompts == ["a sks dog", "dog alone", "a sks dog"]
    with pytest.raises(UserError, match="token"):
        prompts_for("a [V*] dog", " ", "dog", 1)
    assert prompts_for("a dog", "", "", 1) == ["a dog"]


def written(model):
    """The file of a MODEL's weights, once it is there."""
    path = baking.bake(model)
    writer.finish()
    return path


def test_baking_an_untouched_model_is_its_file():
    baked = read_unet(written(world.plain())).tensors
    original = read_unet(WEIGHTS / BASE).tensors
    assert baked.keys() == original.keys()
    assert all(torch.equal(baked[name], original[name]) for name in original)


def test_the_same_weights_are_read_once(monkeypatch):
    model = world.plain()
    baked = written(model)
    patched = model.clone()
    key = "diffusion_model.time_embed.0.weight"
    patched.add_patches({key: (torch.ones_like(model.model.state_dict()[key]),)}, 0.1)
    assert written(patched) != baked
    read = baking.effective_unet
    monkeypatch.setattr(baking, "effective_unet", lambda _: pytest.fail("read again"))
    assert written(model.clone()) == baked
    monkeypatch.setattr(baking, "effective_unet", read)
    baked.unlink()
    assert written(model) == baked
    assert baked.is_file()


def test_baking_counts_loras_in_as_comfyui_samples_them():
    import comfy.sd
    import comfy.utils

    lora = comfy.utils.load_torch_file(str(next(LORAS.iterdir())))
    model, _ = comfy.sd.load_lora_for_models(world.plain(), None, lora, 0.7, 0)
    plain, baked = written(world.plain()), written(model)
    assert plain != baked
    assert written(model) == baked  # one file a content
    tensors = read_unet(baked).tensors
    model.patch_model()
    loaded = model.model.diffusion_model.state_dict()
    try:
        assert all(torch.allclose(t, loaded[n].cpu(), atol=1e-6) for n, t in tensors.items())
        # Patches that are loaded now must not count twice.
        assert written(model) == baked
    finally:
        model.unpatch_model()


def test_what_no_adapter_can_be_trained_for_is_refused():
    from still_moving.adapters.files.adapter import load_adapter
    from still_moving.adapters.host.spatial_adapter import apply_spatial_adapter
    from still_moving.worlds.shapes.files import SPATIAL_ADAPTER

    path = WEIGHTS / SPATIAL_ADAPTER
    adapted, _ = apply_spatial_adapter(
        world.moving(), load_adapter(path, kind="spatial"), 1.0, "auto", path.name
    )
    with pytest.raises(UserError, match="Spatial Adapter"):
        baking.check(adapted)
    with pytest.raises(UserError, match="fp8"):
        baking.check(world.stored_as(torch.float8_e4m3fn))


@pytest.mark.parametrize("step", [baking.check, baking.bake])
def test_a_full_disk_is_said_before_anything_is_written(monkeypatch, user_folder, step):
    monkeypatch.setattr(baking, "MARGIN", 2**60)
    with pytest.raises(UserError, match="GiB free"):
        step(world.plain())
    assert not list((user_folder / "weights").iterdir())


def test_kept_clips_have_every_pixel_and_every_frame(tmp_path):
    frames = (batch() * 255).round().byte()[[0, 0, 1, 2]].numpy()
    save_clip(frames, tmp_path / "clip.mkv")
    with av.open(str(tmp_path / "clip.mkv")) as container:
        kept = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (np.stack(kept) == frames).all()
