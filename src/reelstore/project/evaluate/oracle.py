"""What the best possible scorer reaches on `llm-like`, whose latent truth is known: a ceiling for every aligner."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.datasets.index import read_index
from reelstore.datasets.llm_like import log_likelihood, log_prior, read_knobs, strengths_of
from reelstore.errors import DatasetError, ParamsError
from reelstore.evaluation import evaluate
from reelstore.evaluation.files import write_json
from reelstore.project.settings import Params


@dataclass(frozen=True)
class OracleReport:
    """MRR of the Bayes scorer and of chance, both directions."""

    name: str
    split: str
    n_videos: int
    n_captions: int
    mrr: dict[str, float]
    chance: dict[str, float]
    metrics: Path

    def summary(self) -> str:
        """A line for people."""
        scores = ", ".join(
            f"{direction} MRR {value:.4f} (chance {self.chance[direction]:.4f})"
            for direction, value in self.mrr.items()
        )
        return f"{self.name}, oracle on {self.split} ({self.n_videos} videos, {self.n_captions} captions): {scores}"


def run_oracle(params: Params) -> OracleReport:
    """Score captions and videos of `evaluate.split` by the truth they were drawn from; metrics/<dataset>/oracle.json.

    Text-to-video: log p(words | video). Video-to-text: the same less log p(words), as captions aren't equally likely.

    Raises:
        ParamsError: the dataset is of another kind.
    """
    if params.dataset.kind != "llm-like":
        raise ParamsError(f"dataset.kind is {params.dataset.kind}; the truth behind it is known for llm-like alone.")
    knobs = read_knobs(Path(params.dataset.source))
    dataset, split = read_index(params.layout.data, name=params.dataset.name), params.evaluate.split
    videos = [video for video in dataset.videos if video.split == split]
    place = {video.video_id: number for number, video in enumerate(videos)}
    captions = [caption for caption in dataset.captions if caption.video_id in place]
    if not captions:
        raise DatasetError(f"{dataset.name} has no captions in the split {split!r} (evaluate.split).")
    strengths = np.stack([strengths_of(dataset.clips / video.path) for video in videos])
    texts = [caption.text for caption in captions]
    own = np.array([place[caption.video_id] for caption in captions])
    likelihood = log_likelihood(knobs, strengths, texts)  # (n_captions, n_videos)
    of_captions = likelihood - log_prior(knobs, texts)[:, None]
    forward = evaluate(scores=likelihood, video_of_caption=own, ks=(1,), directions=("t2v",))
    backward = evaluate(scores=of_captions, video_of_caption=own, ks=(1,), directions=("v2t",))
    found = {"t2v": forward, "v2t": backward}
    mrr = {direction: float(of.metrics[direction]["MRR"]) for direction, of in found.items()}
    chance = {direction: float(of.chance[direction]["MRR"]) for direction, of in found.items()}
    path = params.layout.oracle_metrics
    write_json(path, {direction: {"MRR": mrr[direction], "chance_MRR": chance[direction]} for direction in mrr})
    return OracleReport(dataset.name, split, len(videos), len(captions), mrr, chance, path)
