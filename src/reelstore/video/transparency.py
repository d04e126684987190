"""Find alpha that a stream carries in a second layer, which FFmpeg's own decoders ignore."""

import re

import av
from av.codec.codec import UnknownCodecError

from reelstore.errors import UndecodableVideoError

_LIBVPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_HEVC_ALPHA = re.compile(rb"\x4e\x01\xa5")
_HEVC_ALPHA_IN_STREAM = re.compile(rb"\x00\x00(?:\x01|\x00.)\x4e\x01\xa5", re.DOTALL)
"""An SEI message of type 165, alpha channel information (ITU-T H.265, F.14.2.8), after a start code or a length."""


def alpha_decoder(stream: av.VideoStream) -> av.VideoCodecContext | None:
    """The decoder that sees the alpha of a WebM of VP8 or VP9; None where the stream's own decoder is the right one.

    Raises:
        UndecodableVideoError: PyAV has none.
    """
    name = _LIBVPX.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return None
    try:
        return av.CodecContext.create(name, "r")  # type: ignore[return-value]  # of a video codec
    except UnknownCodecError as error:
        raise UndecodableVideoError(f"it is transparent, which only {name} decodes; this PyAV has none") from error


def check_hevc_alpha(stream: av.VideoStream, packet: "av.Packet[av.VideoStream]") -> None:
    """Raise UndecodableVideoError where an HEVC stream, of which this is the first packet, has a layer of alpha."""
    if stream.codec_context.name != "hevc":
        return
    if _HEVC_ALPHA.search(stream.codec_context.extradata or b"") or _HEVC_ALPHA_IN_STREAM.search(bytes(packet)):
        raise UndecodableVideoError("it is HEVC with alpha; nothing here decodes its transparency")
