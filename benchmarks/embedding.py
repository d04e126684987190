"""How busy `reelstore embed` keeps an encoder: items a second of the whole stage beside those of the encoder alone.

    python benchmarks/embedding.py --small
    python benchmarks/embedding.py --out embedding.json

Videos: drawn MP4 clips, 320 x 240, 10 seconds of 30 frames each as MSR-VTT's shortest are, 8 frames of each through
efficientnet-lite0. Captions: of drawn words, 3 to 40 of them, through minilm-l6.

The stage plans, reads and decodes files, encodes, stages rows, and publishes a store down to the disk; its encoder is
loaded before. Alone: `encode` on inputs in memory, in batches filled up as well as they can be; nothing
is read, decoded, tokenised or written. Both have one encoder thread, the stage the other cores for the rest. They take
turns; a ratio is of two times of one round. `busy` is the share of the stage's time in which the encoder computes;
others on the machine disturb it less. `preparing` is what decoding, or tokenising, one item takes a core: no stage can
keep an encoder busy that is faster than the cores that are left can prepare.
"""

import argparse
import io
import json
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np

from reelstore.datasets.index import write_index
from reelstore.encoders.base import Encoder
from reelstore.project.embed.plan import load, plan_embed, staging_folder
from reelstore.project.embed.stage import finalise
from reelstore.project.embed.tasks import run_tasks
from reelstore.project.settings import Params, parse_params
from reelstore.records import Caption, Dataset, Video
from reelstore.video import Sampling, decode

ENCODERS = {"video": "video/efficientnet-lite0", "text": "text/minilm-l6"}
N_FRAMES = 8
FRAMES_PER_SECOND, WIDTH, HEIGHT = 30, 320, 240
DISTINCT_CLIPS = 4
"""Drawn; each is written under many names."""
WORDS = ("dog", "woman", "kitchen", "slowly", "running", "beach", "two", "guitar", "the", "a", "on", "of", "cooking")


def draw_clip(seed: int, n_seconds: int) -> bytes:
    """A picture of waves that moves, with some noise, as MP4."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 400_000
        for number in range(n_seconds * FRAMES_PER_SECOND):
            waves = [np.sin((x * a + y * b + number * 3) / 40) for a, b in ((1, 2), (2, -1), (-1, 1))]
            pixels = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(size=(HEIGHT, WIDTH, 3)) * 8
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def draw_dataset(folder: Path, n_videos: int, n_captions: int, n_seconds: int) -> Dataset:
    """Clips and captions on disk, and their tables."""
    rng = np.random.default_rng(0)
    clips = [draw_clip(seed, n_seconds) for seed in range(DISTINCT_CLIPS)]
    (folder / "clips").mkdir(parents=True)
    videos = []
    for number in range(n_videos):
        content = clips[number % DISTINCT_CLIPS] + _free_box(number)
        (folder / "clips" / f"{number}.mp4").write_bytes(content)
        videos.append(Video(str(number), f"{number}.mp4", sha256(content).hexdigest(), "test", str(number)))
    captions = [
        Caption(str(number % n_videos), number // n_videos, " ".join(rng.choice(WORDS, size=rng.integers(3, 41))))
        for number in range(n_captions)
    ]
    return Dataset("drawn", folder / "clips", tuple(videos), tuple(captions))


def _free_box(number: int) -> bytes:
    """Eight bytes that an MP4 may end with, so that no two files are the same."""
    return (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")


def run_stage(params: Params, key: str, encoder: Encoder) -> None:
    """Embed everything into a store that isn't there yet, with an encoder that is loaded."""
    plan = plan_embed(params, key, encoder.spec).plan
    plan.save(staging_folder(params, key))
    run_tasks(params, plan, encoder, plan.tasks, progress=lambda done, total: None)
    finalise(params, key)


def prepared_batches(dataset: Dataset, encoder: Encoder) -> list[list[Any]]:
    """All items as `encode` takes them, in batches of one shape."""
    if encoder.spec.side == "video":
        sampling = Sampling(**encoder.frames)  # type: ignore[attr-defined]  # video encoders have it
        distinct = [
            encoder.prepare(decode(dataset.clips / one.path, sampling=sampling))
            for one in dataset.videos[:DISTINCT_CLIPS]
        ]
        items = [distinct[number % DISTINCT_CLIPS] for number in range(len(dataset.videos))]
    else:
        items = [encoder.prepare(caption.text) for caption in dataset.captions]
    buckets: dict[Any, list[Any]] = {}
    for item in items:
        buckets.setdefault(encoder.bucket(item), []).append(item)
    size = encoder.batch_size
    return [some[start : start + size] for some in buckets.values() for start in range(0, len(some), size)]


def preparing_seconds(dataset: Dataset, encoder: Encoder) -> float:
    """What getting one item ready for `encode` takes one core."""
    if encoder.spec.side == "text":
        texts = [caption.text for caption in dataset.captions[:500]]
        return seconds(lambda: [encoder.prepare(text) for text in texts]) / len(texts)
    sampling = Sampling(**encoder.frames)  # type: ignore[attr-defined]  # video encoders have it
    paths = [dataset.clips / one.path for one in dataset.videos[:8]]
    return seconds(lambda: [encoder.prepare(decode(path, sampling=sampling)) for path in paths]) / len(paths)


class Watched:
    """An encoder that counts the time it computes."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, batch: Any) -> Any:
        """As the encoder does."""
        started = time.perf_counter()
        outputs = self._encoder.encode(batch)
        self.seconds += time.perf_counter() - started
        return outputs


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(params: Params, key: str, dataset: Dataset, repeats: int) -> dict[str, float]:
    """Items a second of both, and the ratio with its quartiles."""
    encoder = load(params, key)
    batches = prepared_batches(dataset, encoder)
    n_items = sum(map(len, batches))

    def alone() -> None:
        for batch in batches:
            encoder.encode(batch)

    def stage() -> None:
        run_stage(params, key, watched)

    encoder.encode(batches[0])  # the first call also warms up
    rounds, busy = [], []
    for number in range(repeats):
        shutil.rmtree(params.layout.store, ignore_errors=True)
        watched: Any = Watched(encoder)
        order = (alone, stage) if number % 2 else (stage, alone)
        times = {work: seconds(work) for work in order}
        rounds.append((times[stage], times[alone]))
        busy.append(watched.seconds / times[stage])
    ratios = [whole / part for part, whole in rounds]
    lower, middle, upper = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    encoding = statistics.median(whole for _, whole in rounds) / n_items
    return {
        "items": n_items,
        "preparing_ms": 1000 * preparing_seconds(dataset, encoder),
        "encoding_ms": 1000 * encoding,
        "stage_items_per_second": n_items / statistics.median(part for part, _ in rounds),
        "alone_items_per_second": n_items / statistics.median(whole for _, whole in rounds),
        "busy": statistics.median(busy),
        "ratio_lower": lower,
        "ratio": middle,
        "ratio_upper": upper,
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=96, help="clips")
    parser.add_argument("--captions", type=int, default=2048, help="captions")
    parser.add_argument("--seconds", type=int, default=10, help="length of a clip")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--small", action="store_true", help="a quarter of the items, three rounds")
    parser.add_argument("--side", choices=sorted(ENCODERS), help="this side alone")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder otherwise")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    share, repeats = (4, 3) if options.small else (1, options.repeats)
    out = options.out and options.out.absolute()
    found: dict[str, Any] = {"machine": platform.platform(), "results": {}}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="embedding-") as name, chdir(name):
        encoders = {ENCODERS["video"]: {"n_frames": N_FRAMES}, ENCODERS["text"]: {}}
        params = parse_params({"dataset": {"name": "drawn"}, "encoders": encoders, "embed": {"device": "cpu"}})
        sizes = max(1, options.videos // share), max(1, options.captions // share)
        dataset = draw_dataset(Path("source"), *sizes, options.seconds)
        write_index(params.layout.data, dataset, kind="drawn")
        print("| | items | preparing | encoding | the stage | the encoder alone | busy | ratio (quartiles) |")
        print("|---|---|---|---|---|---|---|---|")
        for side, key in ENCODERS.items():
            if options.side not in (None, side):
                continue
            line = found["results"][key] = measure(params, key, dataset, repeats)
            print(
                f"| {key} | {line['items']} | {line['preparing_ms']:.1f} ms | {line['encoding_ms']:.1f} ms | "
                f"{line['stage_items_per_second']:.1f}/s | {line['alone_items_per_second']:.1f}/s | "
                f"{line['busy']:.2f} | "
                f"{line['ratio']:.2f} ({line['ratio_lower']:.2f}-{line['ratio_upper']:.2f}) |",
                flush=True,
            )
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
