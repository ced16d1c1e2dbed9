"""A colour profile for grey (ICC.1, sections 7 to 10): Pillow has no maker for one."""

import struct

_D50 = struct.pack(">3i", 63190, 65536, 54061)


def grey_profile(gamma):
    """The smallest that LittleCMS takes; gamma 1 is linear light."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + _D50,
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0),
        b"cprt": b"text" + bytes(4) + b"x\0\0\0",
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI", start + len(body), b"lcms", 0x02400000) + b"mntrGRAYXYZ "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _D50
    return head.ljust(128, b"\0") + table + body
