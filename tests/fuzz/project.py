"""A small project with everything in it: drawn clips, every stage run once, and files of a person beside and inside."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from .sandbox import Conditions

VIDEO, TEXT = "efficientnet-lite0", "minilm-l6"
MODEL = f"{VIDEO}+{TEXT}"
N_VIDEOS = 12
COLOURS = ["red", "green", "blue", "orange", "purple", "black"]
ROOT = Path(__file__).parents[2]
LIVE = {"aligners": {"mlp": {"kind": "mlp", "max_epochs": 40, "patience": 40, "widths": [8, 4], "checkpoint_steps": 1}}}
"""Settings of the training that overlay `live` has a checkpoint of."""

Run = Callable[..., int | None]
"""(folder, words, conditions) -> exit code of `reelstore WORDS` in a folder; None where a signal ended it."""

PARAMS: dict[str, Any] = {
    "dataset": {"name": "drawn", "kind": "folder", "source": "clips", "captions": "captions.csv"},
    "encoders": {f"video/{VIDEO}": {"n_frames": 2}, f"text/{TEXT}": {"batch_size": 8}},
    "model": {"video": [VIDEO], "text": [TEXT]},
    "embed": {"device": "cpu", "decode_workers": 1, "max_failures": 0.2},
    "grid": {"n_shuffles": 20},
    "mined": {"hard": {"negatives": 1, "among": 3, "embedding": f"text/{TEXT}/mean"}},
    "leakage": {"allow": ["caption", "near-video", "near-caption"], "variants": [f"video/{VIDEO}/mean"]},
    "aligners": {
        "unaligned": {"kind": "unaligned"},
        "ridge": {"kind": "ridge", "alphas": [1.0]},
        "mlp": {"kind": "mlp", "max_epochs": 2, "widths": [8, 4], "batch_size": 4},
        "kernel-ridge": {"kind": "kernel-ridge"},
        "asif": {"kind": "asif"},
    },
    "apply": {"ridge": {}},
    "scorers": {"cosine": {"rerank": "none"}, "maxsim": {"rerank": "maxsim"}},
    "protocols": {"dsl": {"kind": "dual_softmax"}},
    "thresholds": {f"{MODEL}/ridge": {"t2v.R@01": ">= 0"}},
    "tracking": {"wandb": "disabled"},
}

STAGES = [
    "dataset",
    f"embed video/{VIDEO}",
    f"embed text/{TEXT}",
    f"pool video/{VIDEO}",
    f"pool text/{TEXT}",
    "pairs captions",
    "pairs hard",
    f"leakage video/{VIDEO}/mean",
    f"grid {VIDEO} {TEXT}",
    f"doctor {MODEL} --no-fail",
    *(f"align {VIDEO} {TEXT} {aligner}" for aligner in ("unaligned", "ridge", "mlp", "kernel-ridge", "asif")),
    f"apply {VIDEO} {TEXT} ridge",
    *(f"evaluate {VIDEO} {TEXT} {aligner}" for aligner in ("unaligned", "ridge", "mlp", "cosine")),
    f"protocol {VIDEO} {TEXT} ridge dsl",
    "report",
    "import npy sources/npy store/mine/video/npy/mean",
    "import array sources/array.npy store/mine/text/array/mean --keys sources/keys.csv",
    f"export parquet store/drawn/video/{VIDEO}/mean exported/mean.parquet",
    f"export npy store/drawn/video/{VIDEO}/mean exported/npy",
]
"""Commands that make the project, in this order."""


def make(root: Path, command: Run) -> None:
    """A project at root/project, files of a person at root/precious, a home at root/home, and overlays.

    Args:
        root: folder that is there, and empty.
        command: runs `reelstore` in a folder with words.
    """
    folder = root / "project"
    for path in (folder / "clips", folder / "sources", root / "home", root / "tmp"):
        path.mkdir(parents=True)
    (root / "home" / ".bashrc").write_text("alias ll='ls -l'\n")
    precious(root / "precious")
    precious(folder / "precious")
    write_params(folder, {})
    draw_clips(folder / "clips")
    draw_sources(folder / "sources")
    (folder / "exported").mkdir()
    for stage in STAGES:
        code = command(folder, stage)
        assert code == 0, f"reelstore {stage} ended with {code}"
    overlays = root / "overlays"
    sys.path[:0] = [str(ROOT / "tests" / "assets"), str(ROOT / "tests" / "encoders")]
    import checkpoints
    import msrvtt

    for maker in ("language_model", "clip", "siglip2", "xclip"):
        getattr(checkpoints, maker)(overlays / "weights" / "weights" / maker)
    msrvtt.write(overlays / "msrvtt" / "msrvtt", n_train=12, n_validate=3, n_test=9, n_1k=4, n_miech=(10, 4))
    _repository(folder, overlays / "repository")
    _changed(folder, overlays / "reproduced", command, "reproduce report", Path("runs", "reproduce"))
    _planned(folder, overlays, command)
    _live(folder, overlays, command)
    _changed(folder, overlays / "llm-like", command, "dataset llm-like", Path("data", "llm"))
    _changed(folder, overlays / "written", command, "python write", Path("store", "python"))


def _changed(folder: Path, overlay: Path, command: Run, name: str, made: Path) -> None:
    """What a command of the catalogue makes of the project."""
    from .catalogue import COMMANDS

    scratch = overlay.parent / "scratch"
    shutil.copytree(folder, scratch)
    write_params(scratch, COMMANDS[name].params)
    assert command(scratch, COMMANDS[name].words) == 0
    shutil.copytree(scratch / made, overlay / made)
    shutil.rmtree(scratch)


def write_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """params.yaml with some values changed, two levels deep; None takes one away."""
    params = {section: dict(values) for section, values in PARAMS.items()}
    for section, values in changes.items():
        params[section] = {**params.get(section, {}), **values} if values else {}
        params[section] = {name: value for name, value in params[section].items() if value is not None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def _planned(folder: Path, overlays: Path, command: Run) -> None:
    """A plan, and another whose tasks are done."""
    scratch = overlays / "scratch"
    shutil.copytree(folder, scratch)
    shutil.rmtree(scratch / "store" / "drawn" / "text" / TEXT / "tokens")
    for overlay, words in (("planned", f"embed plan text/{TEXT}"), ("staged", "embed task")):
        assert command(scratch, words) == 0
        shutil.copytree(scratch / "runs" / "embed", overlays / overlay / "runs" / "embed")
    shutil.rmtree(scratch)


def _repository(folder: Path, overlay: Path) -> None:
    """A repository with the evaluations in it, whose settings name programs that git would run."""
    for name in ("metrics", "plots"):
        shutil.copytree(folder / name, overlay / name)

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=overlay, check=True)

    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "evaluated")
    runs = "touch PWNED; cat"
    (overlay / ".git" / "info" / "attributes").write_text("* filter=x diff=x\n")
    for name in (
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "filter.x.clean",
        "filter.x.smudge",
        "diff.x.textconv",
    ):
        git("config", name, runs)
    for hook in ("post-checkout", "post-index-change", "pre-auto-gc"):
        (overlay / ".git" / "hooks" / hook).write_text("#!/bin/sh\ntouch PWNED\n")
        (overlay / ".git" / "hooks" / hook).chmod(0o755)


def _live(folder: Path, overlays: Path, command: Run) -> None:
    """The checkpoint of a training that was killed."""
    scratch = overlays / "scratch"
    shutil.copytree(folder, scratch)
    write_params(scratch, LIVE)
    live = Path("runs", "align", "drawn", MODEL, "mlp", "live.ckpt")
    killed = Conditions(signal=signal.SIGKILL, awaited=scratch / live)
    assert command(scratch, f"align {VIDEO} {TEXT} mlp", killed) is None, "it ended before it saved anything"
    (overlays / "live" / live.parent).mkdir(parents=True)
    shutil.copy(scratch / live, overlays / "live" / live)
    shutil.rmtree(scratch)


def precious(folder: Path) -> None:
    """What a person doesn't want to lose: a thesis, and another tool's Zarr v2 group."""
    (folder / "thesis" / "figures").mkdir(parents=True)
    (folder / "thesis" / "chapter-1.txt").write_text("Years of work.\n" * 50)
    (folder / "thesis" / "figures" / "one.png").write_bytes(bytes(range(256)) * 4)
    (folder / "thesis" / "draft.partial").write_text("not whole yet, and mine")
    array = folder / "measured.zarr" / "values"
    array.mkdir(parents=True)
    (folder / "measured.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    meta = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<f4", "compressor": None, "fill_value": 0}
    (array / ".zarray").write_text(json.dumps({**meta, "order": "C", "filters": None}))
    (array / "0").write_bytes(np.arange(4, dtype="<f4").tobytes())
    (folder / "values").mkdir()
    (folder / "values" / "notes.md").write_text("A folder whose name a variant has too.\n")
    (folder / "keep.txt").write_text("keep\n")


def draw_clips(folder: Path) -> None:
    """GIFs of three moving frames, two captions each, in three splits; the table in three formats."""
    rows = []
    for number in range(N_VIDEOS):
        colour, split = COLOURS[number % 6], ["train", "train", "validation", "test"][number % 4]
        frames = [_frame(colour, number, step) for step in range(3)]
        frames[0].save(folder / f"v{number:02}.gif", save_all=True, append_images=frames[1:], duration=80)
        for words in (f"a {colour} thing {number}", f"{number} {colour} moves"):
            rows.append({"video_id": f"v{number:02}", "caption": words, "split": split, "group": f"group {number}"})
    lines = ["video_id,caption,split,group", *(",".join(row.values()) for row in rows)]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "captions.parquet")


def _frame(colour: str, number: int, step: int) -> Image.Image:
    image = Image.new("RGB", (40, 32), "white")
    left = 2 + 3 * step + number
    ImageDraw.Draw(image).ellipse([left, 6, left + 14, 20 + number % 5], fill=colour)
    return image


def draw_sources(folder: Path) -> None:
    """Embeddings of twelve videos in every format that `reelstore import` reads."""
    rng = np.random.default_rng(0)
    ids = [f"v{number:02}" for number in range(N_VIDEOS)]
    values = rng.normal(size=(N_VIDEOS, 8)).astype("f4")
    (folder / "npy").mkdir()
    for name, value in zip(ids, values, strict=True):
        np.save(folder / "npy" / f"{name}.npy", value)
    rows = [f"{name},{caption},test" for name in ids for caption in (0, 1)]
    (folder / "keys.csv").write_text("video_id,caption_index,split\n" + "\n".join(rows) + "\n")
    keys = [dict(zip(("video_id", "caption_index", "split"), row.split(","), strict=True)) for row in rows]
    keys = [{**key, "caption_index": int(key["caption_index"])} for key in keys]
    (folder / "keys.jsonl").write_text("".join(json.dumps(key) + "\n" for key in keys))
    pq.write_table(pa.Table.from_pylist(keys), folder / "keys.parquet")
    pairs = "".join(f"{number},{number // 2}\n" for number in range(2 * N_VIDEOS))
    (folder / "pairs.csv").write_text("caption,video\n" + pairs)
    knobs = json.loads((ROOT / "src/reelstore/datasets/llm_like.json").read_text())
    small = {"n_videos": 30, "splits": {"train": 20, "validation": 5, "test": 5}}
    (folder / "llm-like.json").write_text(json.dumps({**knobs, **small}))
    (folder / "videos.csv").write_text("video_id,split\n" + "".join(f"{name},test\n" for name in ids))
    named = "".join(f"{name},{name if number else 'lost'},test\n" for number, name in enumerate(ids))
    (folder / "named.csv").write_text("video_id,name,split\n" + named)
    np.save(folder / "array.npy", rng.normal(size=(2 * N_VIDEOS, 8)).astype("f4"))
    np.save(folder / "videos.npy", values)
    np.save(folder / "offsets.npy", np.arange(2 * N_VIDEOS + 1, dtype="i8"))
    table = pa.table({"video_id": ids, "split": ["test"] * len(ids), "embedding": list(values)})
    pq.write_table(table, folder / "vectors.parquet")
    feather.write_feather(table, folder / "vectors.arrow", compression="uncompressed")
    (folder / "saved").mkdir()
    shards = [f"data-0000{n}-of-00002.arrow" for n in range(2)]
    for n, name in enumerate(shards):
        with pa.ipc.new_stream(folder / "saved" / name, table.schema) as stream:
            stream.write_table(table.slice(6 * n, 6))
    (folder / "saved/state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in shards]}))
    tokens = [list(rng.normal(size=(1 + n % 3, 4)).astype("f4")) for n in range(N_VIDEOS)]
    ragged = pa.array(tokens, pa.list_(pa.list_(pa.float32(), 4)))
    feather.write_feather(pa.table({"video_id": ids, "tokens": ragged}), folder / "tokens.arrow")
    save_file(dict(zip(ids, values, strict=True)), folder / "vectors.safetensors")
    save_file({"embeddings": values}, folder / "matrix.safetensors")
    np.savez(folder / "vectors.npz", **dict(zip(ids, values, strict=True)))
    np.savez(folder / "captions.npz", **{f"{name}-{n}": values[n] for name in ids for n in range(2)})
    torch.save({name: torch.from_numpy(value) for name, value in zip(ids, values, strict=True)}, folder / "vectors.pt")
    for name in ("emb", "metadata"):
        (folder / name).mkdir()
    for part in range(3):
        np.save(folder / "emb" / f"emb_{part}.npy", values[4 * part : 4 * part + 4])
        paths = [f"{name}.jpg" for name in ids[4 * part : 4 * part + 4]]
        pq.write_table(pa.table({"path": paths}), folder / "metadata" / f"metadata_{part}.parquet")
    with h5py.File(folder / "vectors.h5", "w") as file, h5py.File(folder / "groups.h5", "w") as groups:
        for name, value in zip(ids, values, strict=True):
            file[name] = value
            groups[f"{name}/c3d"] = value
