"""HEIC files as ISO/IEC 23008-12 describes them: no package of ours writes one.

Pictures are coded by libx265 through PyAV; a grid of tiles is what iPhones write.
"""

import io
import struct

import av
import pytest


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind.encode()) + body


def full(kind, version, flags, *parts):
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def coded(picture, pixels="yuv420p", **colours):
    """(hvcC, sample) of one picture, (H, W, 3) uint8 or a VideoFrame, as PyAV writes it."""
    if "libx265" not in av.codecs_available:
        pytest.skip("this PyAV cannot write HEVC")
    is_frame = isinstance(picture, av.VideoFrame)
    frame = picture if is_frame else av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame, file = frame.reformat(format=pixels), io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        options = {"x265-params": "lossless=1:log-level=none"}
        stream = container.add_stream("libx265", rate=1, options=options)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pixels
        for key, value in colours.items():
            if not hasattr(frame, key):
                pytest.skip(f"this PyAV cannot write a frame's {key}")
            setattr(stream.codec_context, key, value)
            setattr(frame, key, value)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        stream = container.streams.video[0]
        packet = next(p for p in container.demux(stream) if p.size)
        return bytes(stream.codec_context.extradata or b""), bytes(packet)


def heic(tiles, columns, size, properties=(), brand=b"heic"):
    """A file. tiles: of ``coded``, by rows. size: of the whole. properties: boxes, in order."""
    grid = columns > 1 or len(tiles) > 1
    rows = len(tiles) // columns
    items = [(number, b"hvc1") for number in range(1, len(tiles) + 1)]
    data = [sample for _, sample in tiles]
    main = 1
    if grid:
        main = len(tiles) + 1
        items.append((main, b"grid"))
        data.append(struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size))
    known = [box("hvcC", tiles[0][0]), full("ispe", 0, 0, struct.pack(">II", *size)), *properties]
    of_main = [2, *range(3, 3 + len(properties)), *([] if grid else [1])]
    links = {number: [1] for number in range(1, len(tiles) + 1)} | {main: of_main}
    ipma = b"".join(
        struct.pack(">HB", item, len(own)) + bytes(own) for item, own in sorted(links.items())
    )

    linked = full("ipma", 0, 0, struct.pack(">I", len(links)), ipma)

    def meta(start):
        places, at = b"", start
        for (number, _), body in zip(items, data, strict=True):
            places += struct.pack(">HHHII", number, 0, 1, at, len(body))
            at += len(body)
        infos = [full("infe", 2, 0, struct.pack(">HH", n, 0), kind, b"\0") for n, kind in items]
        dimg = struct.pack(f">HH{len(tiles)}H", main, len(tiles), *range(1, len(tiles) + 1))
        return full(
            "meta", 0, 0,
            full("hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
            full("pitm", 0, 0, struct.pack(">H", main)),
            full("iinf", 0, 0, struct.pack(">H", len(infos)), *infos),
            *([full("iref", 0, 0, box("dimg", dimg))] if grid else []),
            box("iprp", box("ipco", *known), linked),
            full("iloc", 0, 0, struct.pack(">HH", 0x4400, len(items)), places),
        )  # fmt: skip  # a box a line

    ftyp = box("ftyp", brand, bytes(4), b"mif1", brand)
    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box("mdat", *data)
