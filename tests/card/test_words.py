"""Trained words on a card, read by CLIP: as on the CPU, and nobody waits for them."""

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from helpers import card
from still_moving.training.text.clip import ClipText
from still_moving.training.text.learned_words import LearnedWords


def words() -> LearnedWords:
    config = CLIPTextConfig(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=10,
        bos_token_id=98,
        eos_token_id=99,
    )
    torch.manual_seed(0)
    state = CLIPTextModel(config).state_dict()
    tensors = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}

    def split(text: str) -> list[int]:
        return [sum(map(ord, word)) % 90 for word in text.split()]

    return LearnedWords(ClipText(tensors, split), ["red", "dog"])


def test_a_caption_with_learned_words_is_read_without_a_wait():
    here, there = words().to("cuda"), words()
    here.text("a red dog runs").sum().backward()  # asks for the card's memory
    here.zero_grad()
    with card.watch() as seen:
        text = here.text("a red dog runs")
        text.square().sum().backward()
    assert seen.stalls == {}
    expected = there.text("a red dog runs")
    expected.square().sum().backward()
    assert torch.allclose(text.cpu(), expected, atol=1e-5)
    assert here.rows.grad is not None
    assert there.rows.grad is not None
    assert torch.allclose(here.rows.grad.cpu(), there.rows.grad, rtol=1e-3, atol=1e-4)
