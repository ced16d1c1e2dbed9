"""From what a file means by its numbers to sRGB in 8 bits: HDR, wide gamuts, colour profiles.

FFmpeg's own tone mapping (swscale) either cuts off all that is brighter than white or leaves white
itself grey, and zscale is in no PyAV wheel; so it is written out here, from the recommendations.
"""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageCms

# ITU-T H.273, tables 2 and 3: numbers of transfer functions and primaries.
SRGB, PQ, HLG = 13, 16, 18
BT2020, P3_DISPLAY = 9, 12
WHITE = 203.0  # cd/m2 of HDR's reference white, which is SDR's white (BT.2408, table 1)
PEAK = 1000.0  # cd/m2 that HDR is graded for; HLG's nominal peak
_MATRICES = {  # linear light to BT.709's primaries
    BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349),
             (-0.018151, -0.100579, 1.118730)),  # BT.2087, section 4
    P3_DISPLAY: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0),
                 (-0.019638, -0.078636, 1.098274)),  # SMPTE EG 432-1's primaries, D65
}  # fmt: skip  # matrices, a row a line
_STEPS, _ROWS = 1 << 16, 256
_NEUTRAL = 3  # of 255: what a profile may change before it is more than another sRGB


def needs_mapping(transfer: int, primaries: int) -> bool:
    return transfer in (PQ, HLG) or primaries in _MATRICES


def change(transfer: int, primaries: int) -> str:
    """Of files that are mapped, among the changes of a Probe."""
    by = " by its curve" if transfer == SRGB else ""  # at first, by BT.1886 as video is
    return f"colours {transfer} {primaries}{by}"


def said(transfer: int, primaries: int) -> str:
    """Of files that are mapped, in a person's words."""
    hdr = {PQ: "PQ", HLG: "HLG"}.get(transfer)
    if hdr:
        return f"tone-mapped from HDR ({hdr}) to SDR"
    return f"converted from {'BT.2020' if primaries == BT2020 else 'Display P3'} to sRGB"


def to_srgb(rgb: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """(H, W, 3) uint16 in a transfer function's values to uint8 for an ordinary screen.

    HDR's reference white comes out a little below white, what is brighter up to ``PEAK`` between.
    """
    rows = range(0, len(rgb), _ROWS)  # of 8K, all at once would take gigabytes
    return np.concatenate([_rows_to_srgb(rgb[y : y + _ROWS], transfer, primaries) for y in rows])


def in_8_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of values that have 16 bits."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _rows_to_srgb(rgb: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    hdr = transfer in (PQ, HLG)
    light = _decoding(transfer)[rgb]  # 1 is white
    if hdr:
        if transfer == HLG:
            light = _scene_to_display(light)
        top = light.max(axis=-1, keepdims=True)
        # The largest of the three is mapped and the others go with it, so hues stay.
        light = light * (_tone_mapped(top) / np.maximum(top, 1e-6))
    matrix = _MATRICES.get(BT2020 if hdr and primaries not in _MATRICES else primaries)
    if matrix is not None:
        light = light @ np.array(matrix, np.float32).T
    places = (light.clip(0, 1) * (_STEPS - 1) + 0.5).astype(np.uint16)
    return _encoding(transfer)[places]


@functools.cache
def _decoding(transfer: int) -> np.ndarray:
    """Light by 16-bit value, 1 for white; HLG's is the scene's, 1 for its peak."""
    value = np.linspace(0, 1, _STEPS)
    if transfer == PQ:
        light = _from_pq(value) / WHITE
    elif transfer == HLG:  # BT.2100, table 5, the inverse OETF
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    elif transfer == SRGB:  # IEC 61966-2-1
        light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    else:
        light = value**2.4  # BT.1886, as a screen shows SDR
    return light.astype(np.float32)


def _from_pq(value: np.ndarray) -> np.ndarray:
    """BT.2100, table 4: cd/m2."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = value ** (1 / m2)
    return 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def _to_pq(light: np.ndarray) -> np.ndarray:
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (light.clip(0, None) / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def _scene_to_display(scene: np.ndarray) -> np.ndarray:
    """BT.2100, table 5: HLG's OOTF for a screen of 1,000 cd/m2; 1 for white."""
    luminance = scene @ np.array((0.2627, 0.6780, 0.0593), np.float32)
    return scene * (np.maximum(luminance, 1e-6) ** 0.2)[..., None] * np.float32(PEAK / WHITE)


@functools.cache
def _tone_curve() -> np.ndarray:
    """BT.2390, section 5.4.1: the EETF from ``PEAK`` to ``WHITE``, by the root of light / peak."""
    peak = float(_to_pq(np.array(PEAK)))
    most = float(_to_pq(np.array(WHITE))) / peak
    knee = 1.5 * most - 0.5
    value = _to_pq(np.linspace(0, 1, _STEPS) ** 2 * PEAK) / peak
    t = (value - knee) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
    bent += (-2 * t**3 + 3 * t**2) * most
    return (_from_pq(np.where(value < knee, value, bent) * peak) / WHITE).astype(np.float32)


def _tone_mapped(light: np.ndarray) -> np.ndarray:
    root = np.sqrt((light * np.float32(WHITE / PEAK)).clip(0, 1))  # finer in the shadows
    return _tone_curve()[(root * (_STEPS - 1) + 0.5).astype(np.uint16)]


@functools.cache
def _encoding(transfer: int) -> np.ndarray:
    """8-bit values by linear light in 16 bits: by what SDR is decoded, else BT.1886 inverted."""
    light = np.linspace(0, 1, _STEPS)
    if transfer == SRGB:
        value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        return np.round(255 * value).astype(np.uint8)
    return np.round(255 * light ** (1 / 2.4)).astype(np.uint8)


def in_srgb(image: Image.Image) -> tuple[Image.Image, str]:
    """A picture with its colour profile applied, and the profile's name; "" where it is sRGB's.

    Raises ValueError for a profile that is none, or of other colours than the picture's.
    """
    data = image.info.get("icc_profile")
    if not data or image.mode not in ("RGB", "RGBA", "L", "LA", "CMYK"):
        return image, ""
    alpha = image.getchannel("A") if image.mode == "LA" else None
    colours = image.convert("L") if alpha else image
    if colours.mode == "L" and data[16:20] == b"RGB ":  # ICC.1, 7.2.6: of a picture made grey
        colours = colours.convert("RGB")
    try:
        transform, described = _transform(bytes(data), colours.mode)
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(str(error)) from None
    if transform is None:
        return image, ""
    mapped = ImageCms.applyTransform(colours, transform)
    assert mapped is not None  # only in place there is none
    if alpha:
        mapped.putalpha(alpha)
    return mapped, described


@functools.lru_cache(16)
def _transform(data: bytes, mode: str) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """What brings a picture of this mode to sRGB; None where it changes nothing that is seen."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    described = ImageCms.getProfileDescription(profile).strip() or "a profile without a name"
    out = "RGBA" if mode == "RGBA" else "RGB"
    transform = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), mode, out,
        ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip  # from, to, how
    if mode == "CMYK":
        return transform, described
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(54, 108, 3)
    sample = Image.fromarray(cube).convert(mode)
    mapped = ImageCms.applyTransform(sample, transform)
    assert mapped is not None
    before, after = (np.asarray(i.convert("RGB")).astype(int) for i in (sample, mapped))
    return (None if np.abs(before - after).max() <= _NEUTRAL else transform), described
