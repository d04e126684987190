"""Ways to score what is stored as it is, nothing fitted: a scorer's `rerank` in params.yaml."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from reelstore.errors import ParamsError
from reelstore.evaluation.unaligned import pad_to_same_width
from reelstore.records import Side
from reelstore.registry import Registry
from reelstore.settings import options_of, parsed, plain
from reelstore.store.read import Rows

_BUILT_IN = {
    "none": "reelstore.evaluation.rerank:NoReranker",
    "maxsim": "reelstore.evaluation.rerank_maxsim:MaxSimReranker",
    "xclip": "reelstore.evaluation.rerank_xclip:XClipReranker",
}
RERANKERS = Registry("reranker", "rerankers", _BUILT_IN, extra="encode")
"""Name -> class of a reranker; others come through entry points of the group `reelstore.rerankers`."""


@dataclass(frozen=True)
class Stored:
    """What a reranker is given of one split.

    Attributes:
        videos: variant -> its rows of the n_videos videos, in order.
        texts: variant -> its rows of the n_captions captions, in order.
        video_encoder: loads the encoder of the videos, for what it has beside the store.
        device: where scores may be computed.
    """

    videos: Mapping[str, Rows]
    texts: Mapping[str, Rows]
    video_encoder: Callable[[], Any]
    device: str


class Reranker(Protocol):
    """A way to score every caption with every video. Its settings are the arguments of its class, all with defaults."""

    @property
    def description(self) -> str:
        """What its scores are, for people."""
        ...

    def variants(self) -> dict[Side, list[str]]:
        """What it reads of each side; the first is what details name."""
        ...

    def scored(self, stored: Stored) -> dict[str, Any]:
        """What `evaluate` takes: `text` and `video`, or `scores`."""
        ...


@dataclass(frozen=True)
class NoReranker:
    """The cosine of two stored embeddings, the narrower one zero-padded.

    Args:
        video: pooled variant of the videos.
        text: pooled variant of the captions.
    """

    video: str = "mean"
    text: str = "mean"
    description = "cosine"

    def variants(self) -> dict[Side, list[str]]:
        """One of each side."""
        return {"video": [self.video], "text": [self.text]}

    def scored(self, stored: Stored) -> dict[str, Any]:
        """Both sides of one width."""
        rows = stored.videos[self.video], stored.texts[self.text]
        for side in rows:
            if side.layout != "pooled":
                raise ParamsError(f"{side.side}/{side.encoder}/{side.variant} holds tokens; a cosine takes embeddings.")
        text, video = pad_to_same_width(text=rows[1].array(), video=rows[0].array())
        return {"video": video, "text": text}


def make_reranker(name: str, settings: Mapping[str, Any]) -> Reranker:
    """The reranker of a scorer.

    Args:
        name: of the scorer, for messages.
        settings: its line in params.yaml; `rerank` says which, the rest is the reranker's own.

    Raises:
        UnknownNameError: there is no such reranker.
        MissingExtraError: it needs torch, which isn't installed.
        ParamsError: a setting isn't the reranker's, or has another type or value than it takes.
    """
    own = dict(settings)
    cls = RERANKERS.load(str(own.pop("rerank")))
    parsed(options_of(cls), plain(own), key=f"scorers.{name}")
    reranker: Reranker = cls(**own)
    return reranker
