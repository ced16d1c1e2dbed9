"""Trained words and absorbers in ComfyUI: its own CLIP and LoRA loader find them."""

import comfy.lora
import comfy.sd1_clip
import pytest
import torch

from still_moving.adapters.files.embedding import Embedding, save_embedding
from still_moving.adapters.files.image_lora import save_image_lora
from still_moving.adapters.files.keys import SD15
from still_moving.adapters.files.tensors import read_tensors
from still_moving.adapters.low_rank import LowRank

ROWS = torch.randn(3, 768, generator=torch.Generator().manual_seed(0))


def test_comfyui_loads_trained_words_from_their_folder(tmp_path):
    save_embedding(tmp_path / "my look.safetensors".replace(" ", "_"), Embedding(ROWS, ("red",)))
    tokenizer = comfy.sd1_clip.SD1Tokenizer(embedding_directory=str(tmp_path))
    (section,) = tokenizer.tokenize_with_weights("a embedding:my_look runs")["l"]
    rows = [token for token, _ in section if isinstance(token, torch.Tensor)]
    assert torch.equal(torch.stack(rows), ROWS)
    places = [i for i, (token, _) in enumerate(section) if isinstance(token, torch.Tensor)]
    assert places == [2, 3, 4]  # after the start and "a"


@pytest.mark.parametrize("attention", ["attn1", "attn2"])
def test_comfyuis_lora_loader_knows_every_layer_of_an_absorber(tmp_path, attention):
    place = f"input_blocks.1.1.transformer_blocks.0.{attention}"
    width = {"attn1": 320, "attn2": 768}[attention]
    shapes = {f"{place}.to_q": 320, f"{place}.to_k": width, f"{place}.to_v": width}
    pairs = {n: LowRank(torch.randn(1, w), torch.randn(320, 1)) for n, w in shapes.items()}
    save_image_lora(tmp_path / "look.safetensors", pairs, SD15, {})
    tensors, _ = read_tensors(tmp_path / "look.safetensors")
    stem = f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_{attention}_to_"
    keys = {f"{stem}{end}": f"diffusion_model.{place}.to_{end}.weight" for end in "qkv"}
    assert set(comfy.lora.load_lora(tensors, keys)) == set(keys.values())
    # As model_lora_keys_unet makes them.
    assert all(f"{name}.lora_up.weight" in tensors for name in keys)
