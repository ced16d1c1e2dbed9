"""How much a clip moves, from its pixels alone: displacement and frame difference, per frame.

Displacement is found by Lucas-Kanade registration of small windows, coarse to fine, starting from
an exhaustive search on the coarsest level. Each window counts by how much it changes, and only
where a shift explains its change: grain, flicker and cuts change pixels but displace nothing.
A smooth picture that moves as a whole is measured within 0.1 px or 3 %, whichever is more; what
enters and leaves at the edges is not followed, so fast clips read a little low. What moves by less
than the cells of a picture enlarged without smoothing reads too low as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..common import interrupt

WORKING_SIDE = 192  # longer frames are measured at this size; results are in the clip's own pixels
COARSEST_SIDE = 16
WINDOW = 9  # pixels of a level that move together
SEARCH = 3  # pixels of the coarsest level, so a displacement of 3/16 of a frame can be found
ITERATIONS = 3
CHUNK = 8  # pairs of frames at a time: bounds memory
NOISE = 1e-3  # share of a picture's variance that is not worth a shift
DAMPING = (
    1e-4  # squared slope, of a picture with variance 1: flat windows follow their surroundings
)
EXPLAINED, UNEXPLAINED = 0.25, 0.5  # share of change left after the shift: counts fully, not at all


@dataclass(frozen=True)
class Motion:
    """What happens between each two consecutive frames; both tensors are (frames - 1,).

    displacement: pixels per frame of what moves. difference: mean absolute change, 0..1.
    """

    displacement: Tensor
    difference: Tensor

    @property
    def mean_displacement(self) -> float:
        """Pixels per frame over the whole clip; 0 for a single frame."""
        return float(self.displacement.mean()) if len(self.displacement) else 0.0

    @property
    def mean_difference(self) -> float:
        return float(self.difference.mean()) if len(self.difference) else 0.0


def measure_motion(clip: Tensor) -> Motion:
    """Measure a clip; (frames, height, width, channels) in 0..1, as ComfyUI's IMAGE."""
    frames = clip[..., :3].float().movedim(-1, 1)
    displacement, difference = [], []
    for start in range(0, len(frames) - 1, CHUNK):
        some = frames[start : start + CHUNK + 1]
        difference.append((some[1:] - some[:-1]).abs().mean((1, 2, 3)))
        displacement.append(_displacement(some))
        interrupt.check()
    return Motion(*(torch.cat(parts or [torch.zeros(0)]) for parts in (displacement, difference)))


def _displacement(frames: Tensor) -> Tensor:
    """(frames, c, h, w) -> (frames - 1,) pixels."""
    height, width = frames.shape[-2:]
    shrink = max(1.0, max(height, width) / WORKING_SIDE)
    if shrink > 1:
        size = (round(height / shrink), round(width / shrink))
        frames = F.interpolate(frames, size, mode="area")
    pyramid = [_standardized(_smoothed(frames))]
    while min(pyramid[-1].shape[-2:]) >= 2 * COARSEST_SIDE:
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    flow = _search(pyramid[-1][:-1], pyramid[-1][1:])
    for level in reversed(pyramid):
        if flow.shape[-2:] != level.shape[-2:]:
            ratio = level.shape[-1] / flow.shape[-1]
            flow = F.interpolate(flow, level.shape[-2:], mode="bilinear") * ratio
        flow = _registered(level[:-1], level[1:], flow)
    return _of_what_moves(pyramid[0][:-1], pyramid[0][1:], flow) * shrink


def _standardized(frames: Tensor) -> Tensor:
    """Mean 0 per channel and variance 1 per frame: fades and flicker of the whole drop out."""
    centred = frames - frames.mean((2, 3), keepdim=True)
    return centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-4)


def _smoothed(frames: Tensor) -> Tensor:
    """A small binomial blur: sampling between pixels then costs no sharpness, and grain fades."""
    kernel = frames.new_tensor([1, 4, 6, 4, 1]).div(16).expand(frames.shape[1], 1, 1, 5)
    for shape, pad in ((kernel, (2, 2, 0, 0)), (kernel.transpose(2, 3), (0, 0, 2, 2))):
        padded = F.pad(frames, pad, mode="replicate")
        frames = F.conv2d(padded, shape, groups=frames.shape[1])
    return frames


def _window_mean(values: Tensor) -> Tensor:
    """Mean of the window around each pixel, of what lies inside the frame."""
    half = WINDOW // 2
    rows = F.avg_pool2d(values, (1, WINDOW), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(rows, (WINDOW, 1), 1, (half, 0), count_include_pad=False)


def _energy(difference: Tensor) -> Tensor:
    """Mean square of each window, summed over channels; (n, 1, h, w)."""
    return _window_mean(difference.square().sum(1, keepdim=True))


def _search(first: Tensor, second: Tensor) -> Tensor:
    """Best whole-pixel shift of each window on the coarsest level; (n, 2, h, w) as (x, y)."""
    reach = range(-SEARCH, SEARCH + 1)
    shifts = sorted(((x, y) for x in reach for y in reach), key=lambda s: s[0] ** 2 + s[1] ** 2)
    height, width = first.shape[-2:]
    padded = F.pad(second, [SEARCH] * 4, mode="replicate")
    best = flow = None
    for x, y in shifts:
        top, left = SEARCH + y, SEARCH + x
        cost = _energy(padded[..., top : top + height, left : left + width] - first)
        step = first.new_tensor([x, y]).view(1, 2, 1, 1).expand(len(first), 2, 1, 1)
        if best is None or flow is None:
            best, flow = cost, step.expand(-1, -1, height, width)
            continue
        # The nearest shifts come first; a farther one must be clearly better.
        flow = torch.where(cost < 0.9 * best - NOISE, step, flow)
        best = torch.minimum(best, cost)
    assert flow is not None
    return flow


def _warped(frames: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """(frames sampled at each pixel plus its flow, 1 where that lies inside the frame)."""
    height, width = frames.shape[-2:]
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device).view(1, -1, 1)
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device).view(1, 1, -1)
    x = (columns + flow[:, 0]) * 2 / max(width - 1, 1) - 1
    y = (rows + flow[:, 1]) * 2 / max(height - 1, 1) - 1
    grid = torch.stack((x, y), -1)
    sampled = F.grid_sample(frames, grid, "bilinear", "border", align_corners=True)
    return sampled, (grid.abs() <= 1).all(-1).unsqueeze(1).to(frames)


def _gradients(frames: Tensor) -> tuple[Tensor, Tensor]:
    padded = F.pad(frames, [1] * 4, mode="replicate")
    x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return x / 2, y / 2


def _registered(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """Gauss-Newton steps of each window's shift, by least squares."""
    for _ in range(ITERATIONS):
        warped, inside = _warped(second, flow)
        left = (warped - first) * inside
        x, y = (slope * inside for slope in _gradients((warped + first) / 2))
        products = [(a * b).sum(1) for a, b in ((x, x), (y, y), (x, y), (x, left), (y, left))]
        xx, yy, xy, xt, yt = _window_mean(torch.stack(products, 1)).unbind(1)
        xx, yy = xx + DAMPING, yy + DAMPING
        step = torch.stack((xy * yt - yy * xt, xy * xt - xx * yt), 1)
        flow = flow + (step / (xx * yy - xy * xy).unsqueeze(1)).clamp(-1, 1)
    return flow


def _of_what_moves(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """Mean length of the flow, each window weighted by its change, where a shift explains it."""
    warped, inside = _warped(second, flow)
    change = _energy(second - first) * inside
    left = _energy(warped - first) / change.clamp(min=1e-12)
    trust = ((UNEXPLAINED - left) / (UNEXPLAINED - EXPLAINED)).clamp(0, 1)
    length = flow.square().sum(1, keepdim=True).sqrt()
    moved = (change * trust * length).sum((1, 2, 3))
    return moved / change.sum((1, 2, 3)).clamp(min=1e-12)
