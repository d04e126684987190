"""`reelstore evaluate` where rows are of several splits: one is measured, and none is mixed in silently."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.evaluation import evaluate

FILES = ["--text", "t.npy", "--video", "v.npy", "--keys", "pairs.csv"]
N_TRAIN, N_TEST = 12, 8


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    """Videos and two captions of each: the first 12 of train, the others of test."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    video = generator.normal(size=(N_TRAIN + N_TEST, 6)).astype("f4")
    text = (np.repeat(video, 2, axis=0) + 2 * generator.normal(size=(40, 6))).astype("f4")
    np.save("t.npy", text)
    np.save("v.npy", video)
    return text, video


def split_of(video: int) -> str:
    return "train" if video < N_TRAIN else "test"


def write(form: str, split=split_of) -> None:
    if form == "by id":
        lines = ["video_id,split", *(f"v{row // 2},{split(row // 2)}" for row in range(40))]
    else:
        lines = ["caption,video,split", *(f"{row},{row // 2},{split(row // 2)}" for row in range(40))]
    Path("pairs.csv").write_text("\n".join(lines) + "\n")


def measure(*words: str):
    done = CliRunner().invoke(main, ["evaluate", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def shown(output: str, metric: str = "MRR") -> float:
    """The metric of text-to-video, which is printed first."""
    return float(next(line for line in output.splitlines() if line.startswith(metric)).split()[1])


@pytest.mark.parametrize("form", ["by id", "by row"])
def test_a_table_of_several_splits_is_measured_by_split(arrays, form):
    text, video = arrays
    write(form)
    done = measure(*FILES)
    assert done.exit_code == 1 and "test (16 captions, 8 videos), train (24 captions, 12 videos)" in done.output
    assert "--split test" in done.output and "--split all" in done.output
    alone = evaluate(text=text[24:], video=video[12:], video_of_caption=np.arange(16) // 2).metrics["t2v"]["MRR"]
    done = measure(*FILES, "--split", "test", "--output", "found")
    assert done.exit_code == 0 and "split test: 16 captions, 8 videos" in done.output
    assert shown(done.output) == pytest.approx(alone, abs=1e-4)
    together = evaluate(text=text, video=video, video_of_caption=np.arange(40) // 2).metrics["t2v"]["MRR"]
    assert shown(measure(*FILES, "--split", "all").output) == pytest.approx(together, abs=1e-4) != alone
    done = measure(*FILES, "--split", "val")
    assert done.exit_code == 1 and "no split 'val'. It has the splits test (16" in done.output


@pytest.mark.parametrize("form", ["by id", "by row"])
def test_a_table_of_one_split_or_none_is_measured_as_it_is(arrays, form):
    text, video = arrays
    together = evaluate(text=text, video=video, video_of_caption=np.arange(40) // 2).metrics["t2v"]["MRR"]
    write(form, lambda video: "test")
    for words in ([], ["--split", "test"], ["--split", "all"]):
        assert shown(measure(*FILES, *words).output) == pytest.approx(together, abs=1e-4)
    assert "no split 'train'" in measure(*FILES, "--split", "train").output
    Path("pairs.csv").write_text("video_id\n" + "".join(f"v{row // 2}\n" for row in range(40)))
    for words in ([], ["--split", "all"]):
        assert shown(measure(*FILES, *words).output) == pytest.approx(together, abs=1e-4)
    done = measure(*FILES, "--split", "test")
    assert done.exit_code == 1 and "has no column split" in done.output


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["caption,video,split", "0,0,train", "1,0,test"], "line 3: video 0 is in the split 'test', and in 'train'"),
        (["caption,video,split", "0,0,train", "0,1,test"], "line 3: caption 0 is in the split 'test', and in 'train'"),
        (["caption,video,split", "0,0,train", "1,1,"], "line 3"),
        (["caption,video,split", "0,0,train", "1,1,test"], "no line names caption 2, whose split isn't known"),
        (["video_id,split", *(f"v{row // 2},{'train' if row % 2 else 'test'}" for row in range(40))], "in the split"),
        (["video_id,split", *(f"v{row // 2},{'' if row == 3 else 'test'}" for row in range(40))], "line 5"),
    ],
)
def test_a_table_that_contradicts_itself_on_splits_is_refused(arrays, lines, says):
    Path("pairs.csv").write_text("\n".join(lines) + "\n")
    done = measure(*FILES, "--split", "test")
    assert done.exit_code == 1 and says in done.output, done.output


def test_a_split_named_all_beside_others_is_not_taken_for_all_of_them(arrays):
    write("by id", lambda video: "all" if video < 5 else "test")
    done = measure(*FILES, "--split", "all")
    assert done.exit_code == 1 and "may be one split or all of them" in done.output


def put(side: str, keys: list[str]) -> None:
    Path(f"{side}.csv").write_text("\n".join(keys) + "\n")
    done = CliRunner().invoke(
        main, ["import", "array", f"{side[0]}.npy", f"store/mine/{side}/x/embedding", "--keys", f"{side}.csv"]
    )
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("videos", "captions", "words", "says"),
    [
        (split_of, split_of, [], "has the splits test (8), train (12)"),
        (split_of, split_of, ["--split", "val"], "Not both sides have a split 'val'"),
        (split_of, lambda video: "test", ["--split", "test"], "is in the split 'test'"),
        (lambda video: "test", split_of, ["--split", "test"], "its video in 'test'"),
        (None, split_of, ["--split", "test"], "Not both sides have a split 'test'"),
        (split_of, None, [], "has the splits"),
    ],
)
def test_sides_of_a_store_that_disagree_on_splits_are_refused(arrays, videos, captions, words, says):
    rows = [f"v{row}" for row in range(20)]
    put(
        "video",
        [
            "video_id" + (",split" if videos else ""),
            *(f"{row}{',' + videos(n) if videos else ''}" for n, row in enumerate(rows)),
        ],
    )
    cells = [f"v{row // 2}" + (f",{captions(row // 2)}" if captions else "") for row in range(40)]
    put("text", ["video_id" + (",split" if captions else ""), *cells])
    done = measure("--store", "store/mine", *words)
    assert done.exit_code == 1 and says in done.output, done.output
    done = measure("--store", "store/mine", "--split", "all")
    assert done.exit_code == 0 and "split all: 40 captions, 20 videos" in done.output
