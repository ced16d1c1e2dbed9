"""CLIP's text encoder as SD1.5 has it, from a checkpoint's own tensors, with gradients.

Textual inversion needs the way from a word's embedding to what the network reads; the cached sets
hold only its end. Written out here because the worker imports no comfy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...adapters.files.tensors import read_tensors, refuse_non_finite
from ...adapters.files.text_encoder import HEAD, TABLE, refuse_other_clip, text_tensors
from ...common.errors import UserError, lets_go
from ..checks.device import to_device


class _Layer(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        normed, parts = self.layer_norm1(x), self.self_attn
        q, k, v = (
            parts[name](normed).unflatten(-1, (-1, HEAD)).transpose(0, 1)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + parts["out_proj"](read.transpose(0, 1).flatten(1))
        inner = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](inner * torch.sigmoid(1.702 * inner))


class ClipText(nn.Module):
    """A frozen CLIP text encoder; its words are those of a tokenizer.

    tensors: of the text model, named from ``embeddings.`` on; tokenize: text to token numbers,
    without start and end.
    """

    def __init__(self, tensors: Mapping[str, Tensor], tokenize: Callable[[str], list[int]]):
        super().__init__()
        self.tokenize = tokenize
        count = 1 + max(int(m[1]) for k in tensors if (m := re.match(r"encoder\.layers\.(\d+)", k)))
        vocabulary, width = tensors[TABLE].shape
        length = tensors["embeddings.position_embedding.weight"].shape[0]
        inner = tensors["encoder.layers.0.mlp.fc1.weight"].shape[0]
        with torch.device("meta"):
            self.embeddings = nn.ModuleDict(
                {
                    "token_embedding": nn.Embedding(vocabulary, width),
                    "position_embedding": nn.Embedding(length, width),
                }
            )
            layers = nn.ModuleList(_Layer(width, inner) for _ in range(count))
            self.encoder = nn.ModuleDict({"layers": layers})
            self.final_layer_norm = nn.LayerNorm(width)
        own = set(self.state_dict())  # position numbers, in older files, are no weights
        floats = {k: t.float() for k, t in tensors.items() if k in own}
        self.load_state_dict(floats, strict=True, assign=True)
        self.requires_grad_(False).eval()

    @property
    def table(self) -> Tensor:
        return self.embeddings["token_embedding"].weight  # type: ignore[return-value]  # ModuleDict forgets

    def pieces(self, text: str) -> list[int]:
        """Token numbers of a text, without start and end."""
        return self.tokenize(text)

    @property
    def _length(self) -> int:
        return len(self.embeddings["position_embedding"].weight)  # type: ignore[arg-type]  # ModuleDict forgets

    def rows(self, pieces: Sequence[int]) -> Tensor:
        """Embeddings of tokens: (n, width)."""
        # Indexed by a list, the host would wait for the card, at every sample.
        return self.table[
            to_device(torch.tensor(list(pieces), dtype=torch.long), self.table.device)
        ]

    def encode(self, pieces: Sequence[int], learned: Mapping[int, Tensor]) -> Tensor:
        """What the network reads: (length, width), and as often as a long text needs.

        It is read in sections, each with a start and an end, as ComfyUI's SDTokenizer and
        ClipTokenWeightEncoder do (comfy/sd1_clip.py). learned: embeddings by place in the text.
        """
        room = self._length - 2
        sections = [
            self._section(pieces[at : at + room], {p - at: row for p, row in learned.items()})
            for at in range(0, max(1, len(pieces)), room)
        ]
        return torch.cat(sections)

    def _section(self, pieces: Sequence[int], learned: Mapping[int, Tensor]) -> Tensor:
        start, end = len(self.table) - 2, len(self.table) - 1
        ids = [start, *pieces, end]
        ids += [end] * (self._length - len(ids))  # ComfyUI pads SD1.5's prompts with their end
        rows = list(self.rows(ids))
        for place, row in learned.items():
            if 0 <= place < len(pieces):
                rows[1 + place] = row.to(self.table)
        x = torch.stack(rows) + self.embeddings["position_embedding"].weight  # type: ignore[operator]  # ModuleDict forgets
        for layer in self.encoder["layers"]:  # type: ignore[union-attr]  # ModuleDict forgets
            x = layer(x)
        return self.final_layer_norm(x)


@lets_go
def read_clip_text(path: Path, tokenizer: Path | None) -> ClipText:
    """The text encoder in a file: an SD1.5 checkpoint, or a CLIP by itself.

    tokenizer: folder with vocab.json and merges.txt; without one only the empty text can be read.
    Raises UserError for a file without CLIP, and for a CLIP that is damaged or of another family.
    """
    own = text_tensors(path, read_tensors(path)[0])
    refuse_other_clip(f"{path}, its text encoder", own)
    refuse_non_finite(f"{path}, its text encoder", own)
    return ClipText(own, _tokenizer(tokenizer))


def _tokenizer(folder: Path | None) -> Callable[[str], list[int]]:
    if folder is None:
        return _nothing_but_nothing
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise UserError(
                folder, f"no {name}", "the folder of CLIP's tokenizer (comfy/sd1_tokenizer)",
                "Name a ComfyUI folder.",
            )  # fmt: skip  # subject, found, expected, next move
    from transformers import CLIPTokenizer  # slow to import

    tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    return lambda text: tokenizer(text)["input_ids"][1:-1]


def _nothing_but_nothing(text: str) -> list[int]:
    if text:
        raise UserError(
            f"text {text[:60]!r}", "no tokenizer", "the folder of CLIP's tokenizer",
            "Name a ComfyUI folder: its comfy/sd1_tokenizer is used.",
        )  # fmt: skip  # subject, found, expected, next move
    return []
