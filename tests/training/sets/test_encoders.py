"""ComfyUI's own VAE and CLIP as the encoder, on a checkpoint with real names and shapes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.checkout import comfyui
from still_moving.common.errors import UserError
from still_moving.training.sets import encoders
from still_moving.training.sets.encoders import ComfyEncoder, find_comfyui

TESTS = Path(__file__).resolve().parents[2]


# In a process of its own, with options on the command line that ComfyUI must not take for its.
REAL_BUILD = """
import socket, sys
def refuse(*_): raise AssertionError("a socket was opened")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
sys.path.insert(0, sys.argv[1])
from helpers.pack import load_pack
load_pack()
import torch
from pathlib import Path
from helpers.real_size import write_sd15
from still_moving.training.sets import build, encoders

work, comfyui, photos = (Path(name) for name in sys.argv[2:5])
write_sd15(work / "random.safetensors", seed=1, parts=("unet", "vae", "clip"))
options = build.CacheOptions(width=64, height=64, prompt="a photo of (sks) dog", crop="random")
with encoders.ComfyEncoder(comfyui, work / "random.safetensors") as encoder:
    made = build.build_set(photos, work / "out", encoder, options)
    frames = torch.rand(3, 3, 64, 64)
    together = encoder.encode_frames(frames)
    alone = torch.cat([encoder.encode_frames(frame[None]) for frame in frames])
    assert torch.equal(together, alone)
    raw = encoder._vae.encode(frames[:1].movedim(1, -1)).float()
    assert torch.allclose(together[:1], raw * 0.18215, atol=1e-6)
    plain = encoder.encode_prompt("a photo of sks dog")
    assert not torch.equal(plain, encoder.encode_prompt("a photo of (sks) dog"))
    weighted = encoder._clip.encode_from_tokens(encoder._clip.tokenize("a photo of sks dog"))
    assert torch.equal(plain, weighted[0].float().cpu())
    assert encoder.encode_prompt("dog " * 75).shape == (77, 768)
    long = encoder.encode_prompt("dog " * 75 + "cat " * 80)
    assert long.shape == (3 * 77, 768)
    assert encoder.sections("dog " * 75 + "cat " * 80) == 3
    assert torch.equal(long[:77], encoder.encode_prompt("dog " * 75))
    for refused in ("a embedding:look",):
        try:
            encoder.encode_prompt(refused)
        except ValueError as error:
            assert "an embedding, which only ComfyUI's nodes find" in str(error)
        else:
            raise AssertionError("an embedding was read as letters")
    # As the nodes have them: both make the same set, to the last byte.
    import comfy.latent_formats, comfy.sd
    _, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(
        str(work / "random.safetensors"), embedding_directory=[str(work)]
    )
    host = encoders.HostEncoder(vae, clip, comfy.latent_formats.SD15().process_in, encoder.id)
    build.build_set(photos, work / "node", host, options)
    one, other = (
        {p.relative_to(work / n): p.read_bytes() for p in (work / n).rglob("*") if p.is_file()}
        for n in ("out", "node")
    )
    assert one == other and len(one) == 5 + 1 + 2
    assert encoders.HostEncoder(vae, clip, host._process_in).id != encoder.id
    identity = encoder.id
for item in made.items:
    assert item.latents.shape == (1, 4, 8, 8), item.latents.shape
    assert item.text.shape == (77, 768), item.text.shape
    assert item.latents.std() > 0 and item.text.std() > 0
assert made.encoder == identity and identity.startswith("sd15-")
"""


@pytest.mark.slow
def test_real_photos_through_a_full_size_checkpoint(shared_data, tmp_path):
    place = comfyui()
    arguments = [str(TESTS), str(tmp_path), str(place), str(shared_data / "photos" / "dog")]
    process = subprocess.run(
        [sys.executable, "-c", REAL_BUILD, *arguments, "--port", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert process.returncode == 0, process.stderr[-3000:]
    (tmp_path / "random.safetensors").unlink()


def test_a_missing_comfyui_says_where_it_was_sought(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "from env"))
    monkeypatch.setattr(encoders, "AROUND", tmp_path)  # these tests may lie in a ComfyUI
    with pytest.raises(UserError, match=r"from env \(COMFYUI_PATH\).*around the pack"):
        find_comfyui(None)
    with pytest.raises(UserError, match=r"given \(--comfyui\)"):
        find_comfyui(tmp_path / "given")
    (tmp_path / "from env" / "comfy").mkdir(parents=True)
    (tmp_path / "from env" / "comfy" / "sd.py").touch()
    assert find_comfyui(None) == (tmp_path / "from env").resolve()


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"model.diffusion_model.out.2.bias": (4,)}, "no VAE"),
        ({"first_stage_model.decoder.conv_in.bias": (512,)}, "no CLIP"),
        (
            {
                "first_stage_model.decoder.conv_in.bias": (512,),
                "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (9, 1),
            },
            "1 wide",
        ),
    ],
)
def test_other_files_are_refused_before_comfyui_is_imported(tmp_path, tensors, match):
    path = tmp_path / "a.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path)
    with pytest.raises(UserError, match=match):
        ComfyEncoder(tmp_path / "nowhere", path)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(UserError, match=r"a\.safetensors"):
        ComfyEncoder(tmp_path / "nowhere", path)


@pytest.mark.parametrize(
    ("spoiled", "named"),
    [("first_stage_model.", "its VAE"), ("cond_stage_model.", "its text encoder")],
)
def test_numbers_that_are_none_are_the_parts_own(tmp_path, spoiled, named):
    path = tmp_path / "a.safetensors"
    tensors = {
        "first_stage_model.decoder.conv_in.bias": torch.ones(4),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": torch.ones(
            9, 768
        ),
    }
    for name in tensors:
        if name.startswith(spoiled):
            tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(UserError, match=rf"a\.safetensors, {named}: found NaN"):
        ComfyEncoder(tmp_path / "nowhere", path)
