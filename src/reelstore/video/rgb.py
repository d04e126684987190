"""A decoded frame -> RGB: upright, on white where it is transparent, by its own colour matrix and range.

Colours that a file doesn't state are BT.601 of limited range for every size of picture, as FFmpeg's scaler takes them
(and so do decord and OpenCV, which fed most published models). Nothing is mapped to another gamut or brightness: wide
or HDR (PQ, HLG) signals keep their code values.
"""

from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.reformatter import ColorRange

from reelstore.arrays import UInt8Array
from reelstore.errors import UndecodableVideoError
from reelstore.video.frames import Size
from reelstore.video.limits import decoder_errors
from reelstore.video.orientation import Filter, Orientation, read_display_matrix

_A_SECOND = Fraction(1)
_NEWER_SIDE_DATA = 16
"""Kinds of side data that FFmpeg may have beyond those PyAV has names for."""
_UNKNOWN_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
"""Matrix coefficients of ITU-T H.273 that FFmpeg's scaler has no numbers for."""


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """From the display matrix of the container or of the codec's display-orientation message."""
    # A frame whose side data was read refers to itself, and would stay in memory: a small copy may.
    small = frame.reformat(width=16, height=16, format="gray", interpolation="POINT")
    try:
        matrix = small.side_data.get("DISPLAYMATRIX")
    except ValueError:  # beside it is something that FFmpeg knows and PyAV doesn't
        unknown = range(len(Type), len(Type) + _NEWER_SIDE_DATA)
        small = _through(small, [("sidedata", f"delete:{kind}") for kind in unknown])
        matrix = small.side_data.get("DISPLAYMATRIX")
    return read_display_matrix(bytes(matrix)) if isinstance(matrix, SideData) else Orientation()


def to_rgb(
    frame: av.VideoFrame, size: Size | None, *, orientation: Orientation | None, zero_alpha_is_opaque: bool = False
) -> UInt8Array:
    """The frame's picture.

    Args:
        frame: of any pixel format.
        size: height and width to scale it to, bilinear and in the frame's own pixel format where that is opaque YUV or
            RGB; scaling RGB would see colours that were already interpolated.
        orientation: how it is turned; None where the frame itself says so.
        zero_alpha_is_opaque: a frame that is transparent everywhere has no alpha channel but a byte that isn't used.

    Raises:
        UndecodableVideoError: its colours are of a matrix that can't be converted.
    """
    if not frame.format.is_rgb and frame.colorspace in _UNKNOWN_MATRICES:
        raise UndecodableVideoError(f"its colours are {_UNKNOWN_MATRICES[frame.colorspace]}; that can't become RGB")
    with decoder_errors():
        if frame.format.is_rgb and frame.format.is_big_endian and frame.format.bits_per_pixel <= 16:
            frame = frame.reformat(format="gbrp")  # these come out in wrong colours where the size stays
        orientation = orientation or orientation_of(frame)
        pixels = _converted(frame, zero_alpha_is_opaque)
        if not orientation.is_right_angled:
            pixels = _filtered(_framed(_rgb24(frame) if pixels is None else pixels), orientation, size)
        elif size:
            pixels = _filtered(frame if pixels is None else _framed(pixels), orientation, size)
        else:
            pixels = _rgb24(frame) if pixels is None else pixels
            pixels = np.rot90(pixels[::-1] if orientation.flipped else pixels, k=-orientation.quarter_turns)
        return np.ascontiguousarray(pixels)


def _converted(frame: av.VideoFrame, zero_alpha_is_opaque: bool) -> UInt8Array | None:
    """Stored pixels of a frame that FFmpeg's scaler alone wouldn't show right; None for all others."""
    has_alpha = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    # The scaler takes grey for full range, even if the file says otherwise.
    is_limited_grey = frame.format.name.startswith(("gray", "ya")) and frame.color_range == ColorRange.MPEG
    if not has_alpha and not is_limited_grey:
        return None
    rgba: UInt8Array = frame.to_ndarray(format="rgba")  # type: ignore[assignment]  # bytes
    colours, alpha = rgba[..., :3], rgba[..., 3:]
    if is_limited_grey:
        colours = _FULL_RANGE[colours]
    if alpha.min() == 255 or (zero_alpha_is_opaque and not alpha.any()):
        return colours if is_limited_grey else None
    # Alpha is straight: colours aren't multiplied by it.
    wide = alpha.astype(np.uint16)
    return ((colours * wide + 255 * (255 - wide) + 127) // 255).astype(np.uint8)


_FULL_RANGE: UInt8Array = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
"""Grey of limited range, 16 to 235, as 0 to 255 (ITU-R BT.601, BT.709)."""


def _rgb24(frame: av.VideoFrame) -> UInt8Array:
    picture: UInt8Array = frame.to_ndarray(format="rgb24")  # type: ignore[assignment]  # rgb24 is bytes
    return picture


def _framed(pixels: UInt8Array) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _filtered(frame: av.VideoFrame, orientation: Orientation, size: Size | None) -> UInt8Array:
    """Turned and scaled in the frame's own pixel format, then RGB: the bytes that decord's readers give.

    `frame.reformat` scales with other flags.
    """
    scale: list[Filter] = [("scale", f"{size[1]}:{size[0]}:flags=bilinear")] if size else []
    picture: UInt8Array = _through(frame, [*orientation.filters, *scale, ("format", "rgb24")]).to_ndarray()  # type: ignore[assignment]
    return picture


def _through(frame: av.VideoFrame, filters: list[Filter]) -> av.VideoFrame:
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_A_SECOND)]
    nodes += [graph.add(*one) for one in filters]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
