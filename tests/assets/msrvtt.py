"""Draws MSR-VTT's files in the shape they are published in, of any size; captions are counted, not written.

To look at them: python tests/assets/msrvtt.py FOLDER
"""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

CAPTIONS_PER_VIDEO = 20


def caption(number: int, index: int) -> str:
    """A caption of video `number`; its second repeats its first, and the third is the same for every video."""
    return "someone is talking" if index == 2 else f"clip {number} shows thing {index if index != 1 else 0}"


def write(
    folder: Path,
    *,
    n_train: int = 6513,
    n_validate: int = 497,
    n_test: int = 2990,
    n_1k: int = 1000,
    n_miech: tuple[int, int] = (6656, 1000),
    clip: Callable[[int], bytes] = lambda number: str(number).encode(),
) -> Path:
    """Annotations, lists and clips. Split sizes are those of the real data unless told."""
    splits = ["train"] * n_train + ["validate"] * n_validate + ["test"] * n_test
    annotations, clips = folder / "annotations", [folder / "TrainValVideo", folder / "TestVideo"]
    for path in (annotations, *clips):
        path.mkdir(parents=True)
    order = random.Random(0)
    n_train_val = n_train + n_validate
    for name, numbers in [("train_val", range(n_train_val)), ("test", range(n_train_val, len(splits)))]:
        keys = [(number, index) for number in numbers for index in range(CAPTIONS_PER_VIDEO)]
        order.shuffle(keys)
        sen_id = {key: place for place, key in enumerate(sorted(keys, key=lambda key: (key[0] * 7919 % 9973, key)))}
        _json(annotations / f"{name}_videodatainfo.json", numbers, splits, keys, sen_id)
    test = list(range(n_train_val, len(splits)))
    order.shuffle(test)
    one_k = test[:n_1k]
    rows = [f"ret{row},msr{number},video{number},{caption(number, row % 20)}" for row, number in enumerate(one_k)]
    _lines(annotations / "MSRVTT_JSFUSION_test.csv", ["key,vid_key,video_id,sentence", *rows])
    rest = [number for number in range(len(splits)) if number not in set(one_k)]
    _lines(annotations / "MSRVTT_train.9k.csv", ["video_id", *(f"video{number}" for number in rest)])
    _lines(annotations / "MSRVTT_train.7k.csv", ["video_id", *(f"video{number}" for number in range(n_train_val))])
    mixed = list(range(len(splits)))
    order.shuffle(mixed)
    for name, numbers in [("train", mixed[: n_miech[0]]), ("test", mixed[len(mixed) - n_miech[1] :])]:
        _lines(annotations / f"{name}_list_miech.txt", [f"video{number}" for number in numbers])
    for number, split in enumerate(splits):
        (clips[split == "test"] / f"video{number}.mp4").write_bytes(clip(number))
    return folder


def _json(path: Path, numbers: range, splits: list[str], keys: list[tuple[int, int]], sen_id: dict) -> None:
    videos = [
        {
            "category": number % 20,
            "url": f"https://www.youtube.com/watch?v={number:011}",
            "video_id": f"video{number}",
            "start time": 1.5 * number,
            "end time": 1.5 * number + 12.25,
            "split": splits[number],
            "id": number,
        }
        for number in numbers
    ]
    sentences = [{"caption": caption(*key), "video_id": f"video{key[0]}", "sen_id": sen_id[key]} for key in keys]
    info = {"contributor": "nobody", "data_created": "2016-04-14 14:30:20", "version": "1.0", "year": "2016"}
    path.write_text(json.dumps({"info": info, "videos": videos, "sentences": sentences}))


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]), n_train=12, n_validate=3, n_test=9, n_1k=4, n_miech=(10, 4))
