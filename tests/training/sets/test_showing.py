"""Clips come out as a player shows them: what a container or stream says of it is done, or said."""

import math

import av
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.bars import read_frames
from helpers.showing import CORNERS, corner_colours, corners, flat, notes_of, write
from still_moving.training.sets import colours, media
from still_moving.training.sets.media import ClipOptions, MediaFile

# (x, y) to (ax + cy, bx + dy), and what numpy does to a picture (row, column).
ORIENTATIONS = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).swapaxes(0, 1),
}
RED = (255, 0, 0)


def first(path, clip=None):
    probe = media.probe(MediaFile(path))
    frame = read_frames(path, clip or ClipOptions(1))[0]
    assert (probe.width, probe.height) == (frame.shape[2], frame.shape[1])
    return frame


@pytest.mark.parametrize("matrix", ORIENTATIONS)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_all_eight_orientations(tmp_path, ending, matrix):
    path = tmp_path / f"clip.{ending}"
    write(path, [corners()] * 2, matrix=matrix)
    frame = first(path)
    assert frame.shape[1:] == ORIENTATIONS[matrix](corners()[..., 0]).shape
    assert np.abs(corner_colours(frame) - ORIENTATIONS[matrix](CORNERS)).max() < 12


def test_an_angle_between_is_said_and_not_done(tmp_path):
    turn = math.radians(30)
    cos, sin = math.cos(turn), math.sin(turn)
    write(tmp_path / "a.mp4", [corners()] * 2, matrix=(cos, sin, -sin, cos))
    write(tmp_path / "b.mp4", [corners()] * 2, matrix=(0.001, 1, -1, -0.001))  # rounded, not odd
    assert np.abs(corner_colours(first(tmp_path / "a.mp4")) - CORNERS).max() < 12
    assert first(tmp_path / "b.mp4").shape == (3, 48, 32)
    said = notes_of(tmp_path)
    assert "1 file shown by players at an angle or slanted, which is not done here: a.mp4" in said


@pytest.mark.parametrize(
    ("aspect", "matrix", "shape"),
    [
        ("64/45", (1, 0, 0, 1), (48, 91)),
        ("8/9", (1, 0, 0, 1), (54, 64)),
        ("64/45", (0, 1, -1, 0), (91, 48)),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_circle_stays_one(tmp_path, ending, aspect, matrix, shape):
    path = tmp_path / f"clip.{ending}"
    says = {} if ending == "avi" else {"matrix": matrix}
    if ending == "avi" and matrix[0] == 0:
        pytest.skip("it has no display matrix")
    write(path, [corners(48, 64)] * 2, aspect=aspect, **says)
    frame = first(path)
    assert tuple(frame.shape[1:]) == shape
    assert np.abs(corner_colours(frame) - ORIENTATIONS[matrix](CORNERS)).max() < 12


ALPHA = [
    ("mov", "prores_ks", "yuva444p10le"),
    ("mov", "png", "rgba"),
    ("mov", "qtrle", "argb"),
    ("mkv", "ffv1", "bgra"),
    ("avi", "utvideo", "gbrap"),
    ("webm", "libvpx-vp9", "yuva420p"),
]


@pytest.mark.parametrize(("ending", "codec", "pixels"), ALPHA)
def test_transparent_parts_of_clips_are_white(tmp_path, ending, codec, pixels):
    picture = np.zeros((32, 48, 4), np.uint8)
    picture[:, :24] = (*RED, 255)
    picture[16:, :24, 3] = 128
    path = tmp_path / f"clip.{ending}"
    write(path, [picture] * 2, codec, pixels)
    seen = corner_colours(first(path))
    expected = [[RED, (255, 255, 255)], [(255, 127, 127), (255, 255, 255)]]
    assert np.abs(seen - expected).max() < 12
    assert "1 file with transparency, laid on white" in notes_of(tmp_path)


def test_an_alpha_that_nobody_wrote_is_none(tmp_path):
    """Uncompressed AVI with 32 bits a pixel, of which some programs leave 8 at 0."""
    picture = np.dstack([corners(), np.zeros((32, 48), np.uint8)])
    write(tmp_path / "a.avi", [picture] * 2, "rawvideo", "bgra")
    assert np.abs(corner_colours(first(tmp_path / "a.avi")) - CORNERS).max() < 3
    assert "transparency" not in notes_of(tmp_path)


HDR = {"colorspace": 9, "color_range": 1, "color_primaries": 9}


@pytest.mark.parametrize("codec", ["libx265", "libx264", "ffv1"])
@pytest.mark.parametrize(("transfer", "white", "name"), [(16, 0.58, "PQ"), (18, 0.75, "HLG")])
def test_hdr_is_mapped_to_what_an_ordinary_screen_shows(tmp_path, codec, transfer, white, name):
    path = tmp_path / "clip.mkv"
    # Of reference white (BT.2408: 58 % of PQ's signal, 75 % of HLG's), and what it lights.
    signals = [0.1, 0.3, 0.45, white, 0.5 + white / 2, 1.0]
    frames = [flat("yuv420p10le", round(64 + 876 * s), 512, 512) for s in signals]
    options = {} if codec == "ffv1" else {"crf": "4"}
    colours = {**HDR, "color_trc": transfer}
    write(path, frames, codec, "yuv420p10le", options=options, colours=colours)
    tones = read_frames(path, ClipOptions(len(signals))).float().mean(dim=(1, 2, 3)).tolist()
    assert tones == sorted(tones)
    assert 225 <= tones[3] < tones[4] <= 255  # white, and what is brighter is not lost in it
    assert tones[5] > 252
    assert tones[0] < 32
    assert f"1 file tone-mapped from HDR ({name}) to SDR: clip.mkv" in notes_of(tmp_path)


def test_all_rows_of_a_large_picture_are_mapped():
    rgb = np.random.default_rng(0).integers(0, 65536, (700, 8, 3)).astype(np.uint16)
    whole = colours.to_srgb(rgb, colours.PQ, colours.BT2020)
    row = colours.to_srgb(rgb[600:601], colours.PQ, colours.BT2020)
    assert whole.shape == rgb.shape
    assert (whole[600] == row[0]).all()


def test_wide_gamuts_keep_their_hues(tmp_path):
    """BT.709's red, as BT.2020 writes it (BT.2087), and Display P3's as far as sRGB goes."""
    red = np.array([0.627404, 0.069097, 0.016391]) ** (1 / 2.4)
    weights = np.array([0.2627, 0.6780, 0.0593])
    luma = float(weights @ red)
    blue, other = (red[2] - luma) / 1.8814, (red[0] - luma) / 1.4746
    planes = [round(64 + 876 * luma), round(512 + 896 * blue), round(512 + 896 * other)]
    frames = [flat("yuv444p10le", *planes)] * 2
    for name, transfer in (("sdr", 14), ("pq", 16)):
        colours = {**HDR, "color_trc": transfer}
        write(tmp_path / f"{name}.mkv", frames, "ffv1", "yuv444p10le", colours=colours)
    assert np.abs(corner_colours(first(tmp_path / "sdr.mkv")) - RED).max() < 10  # of 10 bits
    assert "1 file converted from BT.2020 to sRGB: sdr.mkv" in notes_of(tmp_path)


@pytest.mark.parametrize(("transfer", "primaries"), [(16, 9), (18, 9), (1, 12)])
def test_transparent_parts_are_white_in_mapped_colours_too(tmp_path, transfer, primaries):
    says = {"color_trc": transfer, "color_primaries": primaries, "colorspace": min(primaries, 9)}
    picture = np.zeros((32, 48, 4), np.uint8)
    picture[:, :24] = (100, 100, 100, 255)
    path = tmp_path / "clip.mov"
    write(path, [picture] * 2, "prores_ks", "yuva444p10le", colours=says | {"color_range": 1})
    write(tmp_path / "b.mov", [picture[..., :3]] * 2, "prores_ks", "yuv444p10le", colours=says)
    seen, opaque = corner_colours(first(path)), corner_colours(first(tmp_path / "b.mov"))
    assert seen[:, 1].min() > 250
    assert np.abs(seen[:, 0] - opaque[:, 0]).max() < 12
    assert 20 < seen[0, 0, 0] < 230
    probe = media.probe(MediaFile(path))
    assert "on white in sRGB" in probe.changes  # what was black is not found again


MATRICES = {None: (63, 102, 240), 1: (63, 102, 240), 5: (81, 90, 240), 9: (74, 97, 240)}


@pytest.mark.parametrize("space", MATRICES)
@pytest.mark.parametrize("full", [False, True])
def test_red_is_red_by_every_matrix_and_range(tmp_path, space, full):
    luma, blue, red = MATRICES[space]
    if full:
        luma, blue, red = (round((v - 128) * 255 / 224 + 128) for v in (0, blue, red))
        luma = round((MATRICES[space][0] - 16) * 255 / 219)
    colours = {"color_range": 2 if full else 1} | ({} if space is None else {"colorspace": space})
    path = tmp_path / "clip.mkv"
    frame = flat("yuv444p", luma, min(blue, 255), min(red, 255), size=(1280, 720))
    write(path, [frame], "ffv1", colours=colours)
    assert np.abs(corner_colours(first(path)) - RED).max() < 5


def test_small_clips_that_say_nothing_stay_by_the_old_matrix(tmp_path):
    write(tmp_path / "clip.mkv", [flat("yuv444p", 81, 90, 240)] * 2, "ffv1")
    assert np.abs(corner_colours(first(tmp_path / "clip.mkv")) - RED).max() < 5


def test_half_frames_are_made_whole(tmp_path):
    """Two moments in the lines of one frame: combed as they are coded, whole as they are shown."""
    combed = np.zeros((6, 64, 96, 3), np.uint8)
    for moment in range(12):
        combed[moment // 2, moment % 2 :: 2, 7 * moment : 7 * moment + 12] = 255
    path = tmp_path / "clip.ts"
    options = {"flags": "+ildct+ilme", "bf": "0", "qscale": "2"}
    write(path, list(combed), "mpeg2video", "yuv420p", options=options)
    with av.open(str(path)) as container:
        coded = next(container.decode(video=0))
        assert coded.interlaced_frame
        lines = torch.from_numpy(coded.to_ndarray(format="rgb24")).float().mean(dim=-1)
    frames = read_frames(path, ClipOptions(4)).float().mean(dim=1)
    assert (lines[1:] - lines[:-1]).abs().mean() > 30
    assert all((frame[1:] - frame[:-1]).abs().mean() < 8 for frame in frames)
    assert "1 file interlaced, made whole (bwdif): clip.ts (6 of 6 frames)" in notes_of(tmp_path)


def test_a_cover_is_no_clip_and_the_default_track_is_the_one(tmp_path):
    two = tmp_path / "two.mkv"
    with av.open(str(two), "w") as container:
        streams = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        streams[0].disposition, streams[1].disposition = 0, 1
        for stream, colour in zip(streams, (0, 255), strict=True):
            picture = np.full((32, 48, 3), colour, np.uint8)
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    assert first(two).float().mean() > 250
    assert "1 file with several video tracks: two.mkv (number 2 is read)" in notes_of(tmp_path)


def test_damaged_frames_are_counted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (8, 96, 128, 3)).astype(np.uint8)
    path = tmp_path / "a.avi"
    write(path, list(noise), "mpeg4", "yuv420p", options={"g": "4"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    assert "1 file with damaged frames: a.avi (1 of" in notes_of(tmp_path)


def test_a_clip_that_changes_its_size_can_be_left_out(tmp_path):
    write(tmp_path / "a.ts", [corners(32, 48)] * 12, "mpeg2video", "yuv420p")
    write(tmp_path / "b.ts", [corners(64, 48)] * 12, "mpeg2video", "yuv420p")
    joined = (tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes()
    (tmp_path / "b.ts").write_bytes(joined)
    said = notes_of(tmp_path, skip_unreadable=True)
    assert "1 file left out: " in said
    assert "the frame size changes from 48 x 32 to 48 x 64 at frame 1" in said


def test_pictures_are_upright_in_every_format(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 7
    expected = np.rot90(CORNERS, 2).swapaxes(0, 1)
    for ending in ("jpg", "png", "webp", "tiff", "avif"):
        path = tmp_path / f"a.{ending}"
        if ending == "avif" and "AVIF" not in Image.SAVE:
            continue
        Image.fromarray(corners(64, 96)).save(path, exif=exif)
        assert np.abs(corner_colours(first(path)) - expected).max() < 12, ending
