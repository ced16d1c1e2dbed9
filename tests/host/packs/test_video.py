"""VideoHelperSuite's clips into Clip Set, and ours out through its nodes."""

import av
import numpy as np
import pytest
from PIL import Image

from helpers.host.graph import Graph

pytestmark = pytest.mark.pack("VideoHelperSuite")

FRAMES = 8


@pytest.fixture(scope="module")
def video(crowd):
    """Two clips' worth of frames, each of another brightness."""
    path = crowd.base / "input" / "film.mp4"
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 128
        for i in range(2 * FRAMES):
            shade = np.full((128, 128, 3), 10 + 15 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("kind", ["VHS_LoadVideoPath", "VHS_LoadVideoFFmpegPath"])
def test_a_video_that_it_loads_is_a_set_of_clips(crowd, video, kind):
    graph = Graph()
    times = {"frame_load_cap": 0, "custom_width": 0, "custom_height": 0, "force_rate": 0}
    times |= {"start_time": 0} if "FFmpeg" in kind else {"skip_first_frames": 0}
    if "FFmpeg" not in kind:
        times["select_every_nth"] = 1
    loaded = graph.add(kind, video=str(video), **times)
    gathered = graph.add(
        "StillMovingClipSet",
        clip=graph.world[2],
        vae=graph.world[3],
        clips=loaded[0],
        folder="",
        captions=f"a lamp\n{kind}",
        frames=FRAMES,
        fps=0.0,
        stride=1,
        width=128,
        height=128,
        crop="centre",
    )
    first = graph.add("SaveImage", images=gathered[1], filename_prefix="first")
    outputs = crowd.run(graph)
    paths = crowd.output_files({first.number: outputs[first.number]})
    shades = [float(np.asarray(Image.open(path)).mean()) for path in paths]
    assert shades == pytest.approx([10 + 15 * i for i in range(FRAMES)], abs=4)


@pytest.mark.parametrize("kind", ["image/gif", "image/webp", "video/h264-mp4"])
def test_a_clip_of_ours_is_whole_in_its_files(crowd, kind):
    graph = Graph()
    sampled = graph.sample(graph.moving(), frames=FRAMES)
    combined = graph.add(
        "VHS_VideoCombine",
        images=graph.pixels(sampled),
        frame_rate=8,
        loop_count=0,
        filename_prefix="combined",
        format=kind,
        pingpong=False,
        save_output=True,
    )
    (path,) = [
        crowd.base / entry["type"] / entry["subfolder"] / entry["filename"]
        for entry in crowd.run(graph)[combined.number]["gifs"]
    ]
    if kind.startswith("image"):
        with Image.open(path) as image:
            assert image.n_frames == FRAMES
    else:
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == FRAMES
