"""Clips by PyAV, as a player shows them: turned, mirrored, in square pixels, without half-frames.

Whatever it raises on damaged bytes passes through; media.py turns it into a UserError.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.stream import Disposition

from ...common import files
from . import colours
from .probe import GOES_ON, UNTIMED, Note, Probe
from .progress import Pulse
from .showing import UNKNOWN, Showing, has_alpha, matrix_of, needs_telling
from .timing import in_order

MAX_PIXELS = 40 << 20  # a frame; 8K has 33 million
# Named, so that a playlist called clip.mp4 cannot make FFmpeg open other files or addresses.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg,mxf,mpegvideo,dv"
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders leave alpha out
DEINTERLACED, ON_WHITE = "deinterlaced", "on white"


@dataclass
class _Track:
    """An open video track. notes, changes: see Probe."""

    container: Any
    stream: Any
    decoder: Any = None  # another than the stream's own
    notes: list[Note] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    def frames(self, pulse: Pulse) -> Iterator[av.VideoFrame]:
        if self.decoder is None:
            decoded = self.container.decode(self.stream)
        else:
            packets = self.container.demux(self.stream)
            decoded = (frame for packet in packets for frame in self.decoder.decode(packet))
        for frame in decoded:
            pulse()
            yield frame

    def showing(self, frame: av.VideoFrame) -> Showing:
        """By the first frame, its codec and its container."""
        context = self.decoder or self.stream.codec_context
        matrix, odd = matrix_of(frame)
        transfer = int(getattr(frame, "color_trc", context.color_trc))
        primaries = int(getattr(frame, "color_primaries", context.color_primaries))
        large = frame.height >= 720 or frame.width >= 1280
        coded = not frame.format.is_rgb and len(frame.format.components) >= 3
        return Showing(
            matrix, odd, self._aspect(), has_alpha(frame.format),
            coded and large and int(frame.colorspace) == UNKNOWN, transfer, primaries,
        )  # fmt: skip  # fields, several a line

    def _aspect(self) -> Fraction:
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        if not Fraction(1, 8) <= aspect <= 8:  # of damaged bytes
            return Fraction(1)
        return aspect


@contextmanager
def _opened(path: Path) -> Iterator[_Track]:
    limits = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    # Not as ``options``: PyAV before 17.1 gives those to streams as well, and FFmpeg then crashes
    # where a container shows its streams late (MPEG, FLV).
    with files.patient(lambda: av.open(str(path), container_options=limits)) as container:
        track = _Track(container, _shown_stream(container))
        tracks = [s for s in container.streams.video if not _is_cover(s)]
        if len(tracks) > 1:
            which = tracks.index(track.stream) + 1
            track.notes.append(Note("with several video tracks", f"number {which} is read"))
        if track.stream != container.streams.video[0]:
            track.changes.append("track")
        context = track.stream.codec_context
        if context is None:
            raise ValueError("no decoder for its codec")
        refuse_huge(context.width, context.height, MAX_PIXELS)
        # The stream itself can say another size than its container.
        context.options = {"max_pixels": str(MAX_PIXELS)}
        _decode_alpha(track)
        yield track


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _shown_stream(container: Any) -> Any:
    """The track that a player takes: the default one, else the first; a cover picture is none."""
    tracks = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not tracks:
        raise ValueError("only a cover picture" if container.streams.video else "no video stream")
    default = [s for s in tracks if s.disposition & Disposition.default]
    return (default or tracks)[0]


def _decode_alpha(track: _Track) -> None:
    """Take the decoder that reads alpha where the stream has some beside its pictures."""
    tags = {key.lower(): value for key, value in track.stream.metadata.items()}
    context = track.stream.codec_context
    if tags.get("alpha_mode") != "1" or context.name not in _WITH_ALPHA:
        return
    name = _WITH_ALPHA[context.name]
    if name not in av.codecs_available:
        track.notes.append(Note("whose transparency this PyAV cannot read"))
        return
    track.decoder = av.CodecContext.create(name, "r")
    track.decoder.extradata = context.extradata
    track.decoder.options = {"max_pixels": str(MAX_PIXELS)}


def refuse_huge(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise ValueError(f"{width} x {height} pixels, more than {limit >> 20} megapixels")


def survey(path: Path, pulse: Pulse) -> Probe:
    """Decode everything once."""
    said: list[float | None] = []  # times
    size, last, step, corrupt, interlaced = (0, 0), 0.0, 1e-3, 0, 0
    least, most = 255, 0  # alpha
    shown, coded = Showing(), (0, 0)
    with _opened(path) as track:
        step = 1 / float(track.stream.guessed_rate or 1000)
        for frame in track.frames(pulse):
            if not said:
                shown, coded = track.showing(frame), (frame.width, frame.height)
                track.changes += ["matrix"] * needs_telling(frame)
                size = shown.size(frame.width, frame.height)
                refuse_huge(*size, MAX_PIXELS)
            _same_size(frame, coded, len(said))
            said.append(frame.time)
            corrupt += frame.is_corrupt
            interlaced += frame.interlaced_frame
            if shown.alpha and not (least < 255 and most > 0):
                alpha = frame.to_ndarray(format="rgba")[..., 3]
                least, most = min(least, int(alpha.min())), max(most, int(alpha.max()))
            last = float(frame.duration * frame.time_base) if frame.time_base else 0.0
    if not said:
        raise ValueError("not one frame could be decoded")
    times, goes_on = in_order(said, step)
    # Some programs write 32 bits a pixel and leave the last 8 at 0: nothing at all is no clip.
    changes, notes = _told(shown, least < 255 and most > 0, interlaced, corrupt, len(times))
    changes += [UNTIMED] * (None in said and len(times) > 1)
    if goes_on:
        changes.append(GOES_ON)
        notes.append(Note("whose times start again or stand still, timed by its frame rate there"))
    changes, notes = [*track.changes, *changes], [*track.notes, *notes]
    return Probe(*size, tuple(times), True, last, tuple(changes), tuple(notes))


def _same_size(frame: av.VideoFrame, first: tuple[int, int], index: int) -> None:
    if (frame.width, frame.height) != first:
        before, after = "{} x {}".format(*first), f"{frame.width} x {frame.height}"
        raise ValueError(f"the frame size changes from {before} to {after} at frame {index + 1}")


def _told(
    shown: Showing, clear: bool, interlaced: int, corrupt: int, count: int
) -> tuple[list[str], list[Note]]:
    """What is said of a track: the changes and the notes of a Probe."""
    changes, notes = [], []
    a, b, c, d = shown.matrix
    if a * d - b * c < 0:
        changes.append(f"mirrored {shown.matrix}")
    if shown.odd:
        changes.append("odd matrix")
        notes.append(Note("shown by players at an angle or slanted, which is not done here"))
    if shown.aspect != 1:
        changes.append(f"aspect {shown.aspect}")
    if clear:
        changes.append(ON_WHITE)
        notes.append(Note("with transparency, laid on white"))
    if shown.mapped:
        changes.append(colours.change(shown.transfer, shown.primaries))
        changes += ["on white in sRGB"] * clear
        notes.append(Note(colours.said(shown.transfer, shown.primaries)))
    elif shown.hd:
        changes.append("bt709")
    if interlaced:
        changes.append(DEINTERLACED)
        notes.append(Note("interlaced, made whole (bwdif)", f"{interlaced} of {count} frames"))
    if corrupt:
        notes.append(Note("with damaged frames", f"{corrupt} of {count}"))
    return changes, notes


def frames(
    path: Path, picks: list[int], pulse: Pulse, changes: tuple[str, ...]
) -> Iterator[np.ndarray]:
    """The picked frames as (H, W, 3) uint8. changes: of the file's Probe."""
    waiting = list(picks)
    with _opened(path) as track:
        decoded = track.frames(pulse)
        first = next(decoded)
        shown = replace(track.showing(first), alpha=ON_WHITE in changes)
        decoded = itertools.chain([first], decoded)
        if DEINTERLACED in changes:
            decoded = _deinterlaced(decoded)
        for index, frame in enumerate(decoded):
            if index == waiting[0]:
                picture = shown.picture(frame)
                while waiting and waiting[0] == index:  # a slow clip at a high fps repeats frames
                    waiting.pop(0)
                    yield picture
                if not waiting:
                    return
    raise ValueError(f"the file ends before frame {waiting[0] + 1}")


def _deinterlaced(decoded: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The same frames, those that are two half-frames made whole by FFmpeg's bwdif."""
    graph = None
    for frame in decoded:
        if graph is None:
            graph = _bwdif(frame)
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _bwdif(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    base = frame.time_base or Fraction(1, 1000)
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=base
    )
    nodes = [source, graph.add("bwdif", "mode=send_frame:deint=interlaced")]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
