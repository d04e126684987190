"""Late interaction over stored tokens: a scorer's `rerank: maxsim`."""

from dataclasses import dataclass
from typing import Any

from reelstore.arrays import Array, IntArray, widened
from reelstore.errors import ParamsError
from reelstore.evaluation.rerank import Stored
from reelstore.ranking import MaxSim
from reelstore.ranking.token_scores import Interaction, Over, TokenSimilarity, Total
from reelstore.records import Side
from reelstore.store.read import Rows


@dataclass(frozen=True)
class MaxSimReranker:
    """Max-sim over the tokens of both sides, the narrower ones zero-padded; tokens are read from the store by blocks.

    Args:
        video: variant of the videos' tokens.
        text: variant of the captions' tokens.
        similarity: of two tokens, `cosine` or `dot`.
        over: whose tokens are added up, `text`, `video` or `both`.
        total: `mean` or `sum` over them.
    """

    video: str = "tokens"
    text: str = "tokens"
    similarity: TokenSimilarity = "cosine"
    over: Over = "text"
    total: Total = "mean"

    @property
    def description(self) -> str:
        """What its scores are."""
        return self._interaction().description

    def variants(self) -> dict[Side, list[str]]:
        """One of each side."""
        return {"video": [self.video], "text": [self.text]}

    def scored(self, stored: Stored) -> dict[str, Any]:
        """The scorer on both sides' tokens."""
        rows = stored.videos[self.video], stored.texts[self.text]
        for side in rows:
            if side.layout == "pooled":
                raise ParamsError(
                    f"{side.side}/{side.encoder}/{side.variant} is pooled; max-sim takes tokens, such as {side.side}: "
                    "tokens."
                )
        width = max(side.dim for side in rows)
        video, text = (_Widened(side, width) for side in rows)
        return {"scores": MaxSim(text=text, video=video, **vars(self._interaction()))}

    def _interaction(self) -> Interaction:
        return Interaction(self.similarity, self.over, self.total)


class _Widened:
    """A store's tokens with zeros behind each, up to a width; no length or product changes."""

    def __init__(self, rows: Rows, width: int) -> None:
        self._rows, self.dim = rows, width
        self.token_counts = rows.token_counts

    def take_ragged(self, positions: IntArray) -> tuple[Array, IntArray]:
        """As of a store's rows."""
        values, offsets = self._rows.take_ragged(positions)
        return widened(values, self.dim), offsets
