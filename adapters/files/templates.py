"""Every key and shape of the networks whose files are checked: an image UNet, a motion module."""

from __future__ import annotations

from .keys import UNetLayout

Shapes = dict[str, tuple[int, ...]]


def unet_shapes(layout: UNetLayout, width: int, multiples: tuple[int, ...], context: int) -> Shapes:
    """An SD UNet in LDM naming.

    width: channels of the first level; multiples: of it, per level; context: text width.
    """
    emb, step, last = 4 * width, layout.layers_per_block + 1, layout.levels - 1
    channels = [width * multiple for multiple in multiples]
    shapes = _affine("time_embed.0", emb, width) | _affine("time_embed.2", emb, emb)
    shapes |= _affine("input_blocks.0.0", width, 4, 3, 3)
    skips, c = [width], width
    for level, c_level in enumerate(channels):
        for i in range(layout.layers_per_block):
            name = f"input_blocks.{1 + level * step + i}"
            shapes |= _block(name, c, c_level, emb, context if layout.attention[level] else None)
            c = c_level
            skips.append(c)
        if level < last:
            shapes |= _affine(f"input_blocks.{(level + 1) * step}.0.op", c, c, 3, 3)
            skips.append(c)
    shapes |= _block("middle_block", c, c, emb, context) | _resnet("middle_block.2", c, c, emb)
    for up, c_level in enumerate(reversed(channels)):
        has_attention = layout.attention[last - up]
        for i in range(step):
            name, c_in = f"output_blocks.{up * step + i}", c + skips.pop()
            shapes |= _block(name, c_in, c_level, emb, context if has_attention else None)
            c = c_level
        if up < last:
            name = f"output_blocks.{(up + 1) * step - 1}.{2 if has_attention else 1}.conv"
            shapes |= _affine(name, c, c, 3, 3)
    return shapes | _affine("out.0", width) | _affine("out.2", 4, width, 3, 3)


def module_shapes(
    channels: tuple[int, ...], layers: int, has_mid_block: bool, frames: int | None
) -> Shapes:
    """A motion module in AnimateDiff naming.

    channels: per level, finest first; layers: temporal transformers per down block (an up block
    has one more); frames: rows of the position tables, None for a file without them.
    """
    places = [(f"down_blocks.{i}", c, layers) for i, c in enumerate(channels)]
    places += [(f"up_blocks.{i}", c, layers + 1) for i, c in enumerate(reversed(channels))]
    if has_mid_block:
        places.append(("mid_block", channels[-1], 1))
    shapes: Shapes = {}
    for place, c, count in places:
        for module in range(count):
            shapes |= _temporal(f"{place}.motion_modules.{module}.temporal_transformer", c, frames)
    return shapes


def _affine(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _block(name: str, c_in: int, c_out: int, emb: int, context: int | None) -> Shapes:
    """A residual block, and a transformer after it where there is a text width."""
    shapes = _resnet(f"{name}.0", c_in, c_out, emb)
    return shapes if context is None else shapes | _spatial(f"{name}.1", c_out, context)


def _resnet(name: str, c_in: int, c_out: int, emb: int) -> Shapes:
    shapes = _affine(f"{name}.in_layers.0", c_in)
    shapes |= _affine(f"{name}.in_layers.2", c_out, c_in, 3, 3)
    shapes |= _affine(f"{name}.emb_layers.1", c_out, emb)
    shapes |= _affine(f"{name}.out_layers.0", c_out)
    shapes |= _affine(f"{name}.out_layers.3", c_out, c_out, 3, 3)
    if c_in != c_out:
        shapes |= _affine(f"{name}.skip_connection", c_out, c_in, 1, 1)
    return shapes


def _spatial(name: str, c: int, context: int) -> Shapes:
    block = f"{name}.transformer_blocks.0"
    shapes = _affine(f"{name}.norm", c)
    shapes |= _affine(f"{name}.proj_in", c, c, 1, 1) | _affine(f"{name}.proj_out", c, c, 1, 1)
    shapes |= _attention(f"{block}.attn1", c, c) | _attention(f"{block}.attn2", c, context)
    shapes |= _feed_forward(block, c)
    for norm in ("norm1", "norm2", "norm3"):
        shapes |= _affine(f"{block}.{norm}", c)
    return shapes


def _temporal(name: str, c: int, frames: int | None) -> Shapes:
    block = f"{name}.transformer_blocks.0"
    shapes = _affine(f"{name}.norm", c)
    shapes |= _affine(f"{name}.proj_in", c, c) | _affine(f"{name}.proj_out", c, c)
    for i in (0, 1):
        attention = f"{block}.attention_blocks.{i}"
        shapes |= _attention(attention, c, c) | _affine(f"{block}.norms.{i}", c)
        if frames is not None:
            shapes[f"{attention}.pos_encoder.pe"] = (1, frames, c)
    return shapes | _feed_forward(block, c) | _affine(f"{block}.ff_norm", c)


def _attention(name: str, c: int, source: int) -> Shapes:
    shapes: Shapes = {f"{name}.to_q.weight": (c, c)}
    shapes |= {f"{name}.to_k.weight": (c, source), f"{name}.to_v.weight": (c, source)}
    return shapes | _affine(f"{name}.to_out.0", c, c)


def _feed_forward(block: str, c: int) -> Shapes:
    # Twice 4c wide: half of it gates the other (GEGLU).
    return _affine(f"{block}.ff.net.0.proj", 8 * c, c) | _affine(f"{block}.ff.net.2", c, 4 * c)
