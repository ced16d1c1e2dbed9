"""Fused attention: torch chooses which of its kernels runs, and they all compute the same here.

The choice is torch's own, by dtype, shape, mask and the card's capability. Backward computes the
forward again, with gradients. Dropout, which no network here has, is refused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .memory import CUDA, host_view, on_card
from .rules import mismatch

_LARGEST_GRID = 65_535  # of a card's second and third dimension: batches that a kernel takes
_NO_AUTOGRAD = torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU)
_NO_AUTOGRAD = _NO_AUTOGRAD | torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)


class Attention:
    """Of queries, keys and values (batch, heads, tokens, channels) under a bias and a mask."""

    def __init__(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None,
        is_causal: bool, scale: float | None, dropout_p: float,
    ):  # fmt: skip  # what attends, then how
        for name, tensor in (("key", k), ("value", v), ("attn_bias", bias)):
            if tensor is not None and tensor.device != q.device:
                raise mismatch("scaled_dot_product_attention", name, tensor.device)
        if q.size(0) > _LARGEST_GRID:
            raise RuntimeError("CUDA error: invalid configuration argument")
        if dropout_p:
            raise RuntimeError("the pretended card's fused attention drops nothing")
        self.dtype, self.is_causal, self.scale = q.dtype, is_causal, scale
        self.inputs = [host_view(tensor).float() for tensor in (q, k, v)]
        self.bias = None if bias is None else host_view(bias).float()

    def _plain(self, inputs: list[Tensor], bias: Tensor | None) -> Tensor:
        q, k, v = inputs
        return torch.ops.aten._scaled_dot_product_attention_math(
            q, k, v, bias, 0.0, self.is_causal, None, scale=self.scale
        )[0]

    def forward(self) -> Tensor:
        """Laid out as (batch, tokens, heads, channels), as the kernels lay it out."""
        out = self._plain(self.inputs, self.bias).to(self.dtype)
        return on_card(out.transpose(1, 2).contiguous()).transpose(1, 2)

    def backward(self, gradient: Tensor, of_bias: bool = False) -> tuple[Tensor, ...]:
        """Gradients of q, k, v and, where it is wanted, of the bias."""
        wanted = [tensor.detach().requires_grad_() for tensor in self.inputs]
        bias = None if self.bias is None else self.bias.detach().requires_grad_(of_bias)
        of = [*wanted, *([bias] if of_bias and bias is not None else [])]
        # A kernel runs below autograd; here it is switched on again for the CPU.
        guard = torch._C._IncludeDispatchKeyGuard(torch._C.DispatchKey.AutogradCPU)
        included = torch._C._dispatch_tls_local_include_set()
        excluded = torch._C._dispatch_tls_local_exclude_set() - _NO_AUTOGRAD
        with torch.enable_grad(), torch._C._ForceDispatchKeyGuard(included, excluded):
            out = self._plain(wanted, bias)
            found = torch.autograd.grad(out, of, host_view(gradient).float())
        del guard
        return tuple(on_card(tensor.to(self.dtype)) for tensor in found)


def _state() -> Tensor:
    """In place of the random state that a real kernel saves for its dropout."""
    return torch.empty(0, dtype=torch.int64, device=CUDA)


def _sums(q: Tensor, *more: int) -> Tensor:
    """In place of the logarithms of sums that a real kernel saves."""
    return torch.empty((*q.shape[:3], *more), dtype=torch.float32, device=CUDA)


def efficient(q, k, v, bias, compute_log_sumexp, dropout_p=0.0, is_causal=False, *, scale=None):
    out = Attention(q, k, v, bias, is_causal, scale, dropout_p).forward()
    return out, _sums(q), _state(), _state()


def efficient_backward(
    gradient, q, k, v, bias, out, sums, seed, offset, dropout_p, mask, is_causal=False,
    *, scale=None,
):  # fmt: skip  # as torch calls it
    of_bias = bool(mask[3]) and bias is not None
    attention = Attention(q, k, v, bias, is_causal, scale, dropout_p)
    found = attention.backward(gradient, of_bias)
    return found if of_bias else (*found, None)


def flash(q, k, v, dropout_p=0.0, is_causal=False, return_debug_mask=False, *, scale=None):
    out = Attention(q, k, v, None, is_causal, scale, dropout_p).forward()
    return out, _sums(q), None, None, q.size(2), k.size(2), _state(), _state(), _state()


def flash_backward(
    gradient, q, k, v, out, sums, cum_q, cum_k, max_q, max_k, dropout_p, is_causal, seed, offset,
    *, scale=None,
):  # fmt: skip  # as torch calls it
    return Attention(q, k, v, None, is_causal, scale, dropout_p).backward(gradient)


def cudnn(
    q, k, v, bias, compute_log_sumexp, dropout_p=0.0, is_causal=False, return_debug_mask=False,
    *, scale=None,
):  # fmt: skip  # as torch calls it
    out = Attention(q, k, v, bias, is_causal, scale, dropout_p).forward()
    return out, _sums(q, 1), None, None, q.size(2), k.size(2), _state(), _state(), _state()


def cudnn_backward(
    gradient, q, k, v, out, sums, seed, offset, bias, cum_q, cum_k, max_q, max_k, dropout_p,
    is_causal, *, scale=None,
):  # fmt: skip  # as torch calls it
    return Attention(q, k, v, bias, is_causal, scale, dropout_p).backward(gradient)


_NAME = "_scaled_dot_product_{}_attention{}"
FUSED = {
    _NAME.format("efficient", ""): efficient,
    _NAME.format("efficient", "_backward"): efficient_backward,
    _NAME.format("flash", ""): flash,
    _NAME.format("flash", "_backward"): flash_backward,
    _NAME.format("cudnn", ""): cudnn,
    _NAME.format("cudnn", "_backward"): cudnn_backward,
}
