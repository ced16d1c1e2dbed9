"""Fused attention on the pretended card: torch chooses the kernel, and all compute the same."""

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from helpers.card.kernels import calls

CUDA = torch.device("cuda")
KERNELS = {
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "efficient",
    SDPBackend.CUDNN_ATTENTION: "cudnn",
}


def attended(device: torch.device, dtype: torch.dtype, mask: bool = False) -> list[Tensor]:
    """The result for 2 clips, 3 heads, 5 tokens and 8 channels, and gradients of q, k and v."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, 5, 8, generator=generator) for _ in range(3)]
    q, k, v = (tensor.to(device, dtype).requires_grad_() for tensor in inputs)
    seen = torch.ones(5, 5, dtype=torch.bool, device=device).tril() if mask else None
    out = scaled_dot_product_attention(q, k, v, attn_mask=seen)
    out.square().sum().backward()
    return [tensor.float().cpu() for tensor in (out, q.grad, k.grad, v.grad) if tensor is not None]


@pytest.mark.parametrize("backend", KERNELS)
def test_every_kernel_computes_what_the_cpu_computes(backend):
    name = f"_scaled_dot_product_{KERNELS[backend]}_attention"
    before = calls[name], calls[f"{name}_backward"]
    with sdpa_kernel(backend):
        found = attended(CUDA, torch.float16)
    assert (calls[name], calls[f"{name}_backward"]) == (before[0] + 1, before[1] + 1)
    for here, there in zip(found, attended(torch.device("cpu"), torch.float32), strict=True):
        assert (here - there).norm() <= 5e-3 * there.norm()


@pytest.mark.parametrize(
    ("dtype", "mask", "kernel"),
    [
        (torch.bfloat16, False, "flash"),
        (torch.float16, True, "efficient"),
        (torch.float32, False, "efficient"),
    ],
)
def test_the_kernel_is_the_one_that_a_card_takes(dtype, mask, kernel):
    name = f"_scaled_dot_product_{kernel}_attention"
    before = calls[name]
    found = attended(CUDA, dtype, mask)
    assert calls[name] == before + 1
    for here, there in zip(found, attended(torch.device("cpu"), dtype, mask), strict=True):
        assert (here - there).norm() <= 0.02 * there.norm()


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch says why it takes none
def test_without_a_kernel_it_is_refused_in_torchs_words():
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises(RuntimeError, match="No available"):
        attended(CUDA, torch.float32)


def test_dropout_in_a_fused_kernel_is_refused():
    q = torch.zeros(1, 1, 4, 8, device=CUDA)
    with pytest.raises(RuntimeError, match="drops nothing"):
        scaled_dot_product_attention(q, q, q, dropout_p=0.5)


def test_a_batch_beyond_the_grid_is_refused():
    many = torch.zeros(65_536, 1, 1, 8, device=CUDA)
    with pytest.raises(RuntimeError, match="invalid configuration argument"):
        scaled_dot_product_attention(many, many, many)
