"""Ridge regression of a video's mean caption on the video: closed form, the floor for whatever is trained."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.align.base import Floats, PairedRows, Validate, Workplace, check_width
from reelstore.align.preprocess import centred, mean_direction, unit
from reelstore.errors import ParamsError


class Ridge:
    """W = argmin |X W - Y|^2 + alpha |W|^2, X the centred videos, Y the mean of each one's centred captions.

    `alpha` is the product of one of `alphas`, chosen by validation MRR, and the mean eigenvalue of X X', so that it
    means the same for any encoder.
    """

    def __init__(self, *, alphas: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)) -> None:
        if not alphas or min(alphas) <= 0:
            raise ParamsError(f"ridge: alphas must be positive, not {list(alphas)}.")
        self._alphas = tuple(alphas)
        self._tensors: dict[str, Floats] = {}

    def fit(self, train: PairedRows, validation: PairedRows, *, validate: Validate, workplace: Workplace) -> None:
        """Solve once for every alpha and keep the best."""
        videos, captions = train.video_array(), train.text_array()
        video_mean, text_mean = mean_direction(videos), mean_direction(captions)
        x = centred(videos, video_mean).astype(np.float64)  # (n_videos, video dim)
        y = np.zeros((len(x), captions.shape[1]))  # (n_videos, text dim)
        np.add.at(y, train.video_of_caption, centred(captions, text_mean))
        captioned = np.bincount(train.video_of_caption, minlength=len(x)) > 0
        x, y = x[captioned], unit(y[captioned].astype(np.float32)).astype(np.float64)
        # One decomposition serves every alpha.
        left, values, right = np.linalg.svd(x, full_matrices=False)
        target = left.T @ y  # (rank, text dim)
        validation_video, validation_text = validation.video_array(), validation.text_array()
        best = -1.0
        for alpha in self._alphas:
            strength = alpha * float((values**2).mean())
            weight = right.T @ ((values / (values**2 + strength))[:, None] * target)
            candidate = {"weight": weight.astype(np.float32), "video_mean": video_mean, "text_mean": text_mean}
            kept, self._tensors = self._tensors, candidate
            video, text = self.transform_video(validation_video), self.transform_text(validation_text)
            mrr = validate(video, text, validation.video_of_caption)
            workplace.log({"alpha": float(alpha), "validation_MRR": mrr})
            if mrr > best:
                best = mrr
            else:
                self._tensors = kept

    def transform_video(self, video: npt.NDArray[np.floating[Any]]) -> Floats:
        """(n, video dim) -> (n, text dim), length 1."""
        values = check_width(video, len(self._tensors["video_mean"]), "video")
        return unit(centred(values, self._tensors["video_mean"]) @ self._tensors["weight"])

    def transform_text(self, text: npt.NDArray[np.floating[Any]]) -> Floats:
        """(n, text dim) -> (n, text dim), centred, length 1."""
        return centred(check_width(text, len(self._tensors["text_mean"]), "text"), self._tensors["text_mean"])

    def tensors(self) -> dict[str, Floats]:
        """Weight and both means."""
        return dict(self._tensors)

    def restore(self, tensors: Mapping[str, Floats]) -> None:
        """The inverse of `tensors`."""
        self._tensors = {name: tensors[name] for name in ("weight", "video_mean", "text_mean")}
