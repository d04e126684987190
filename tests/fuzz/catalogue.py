"""Every command: what it reads, and what it may write. The fuzzer takes it from here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .project import LIVE, MODEL, TEXT, VIDEO

T, V = f"store/drawn/text/{TEXT}", f"store/drawn/video/{VIDEO}"
DATA = ("data/drawn/*.json*",)
CLIPS = ("clips/*.gif",)
POOLINGS = ("first", "last", "max", "mean", "sum")
BOTH = (f"{V}/mean/**/*", f"{T}/mean/**/*")
WRITTEN = "store/python/text/encoder/mean"
NAMED = f"--video {VIDEO} --text {TEXT}"
"""Encoders as options, as dvc.yaml gives them."""
GROUPS = ("store", "store/zarr.json", "store/*/zarr.json", "store/*/*/zarr.json", "store/*/*/*/zarr.json")
"""Folders' own metadata above variants."""


def variants(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}/{name}/**/*" for name in names)


@dataclass(frozen=True)
class Command:
    """A command line, and the files and folders it has to do with; all paths are relative to the project.

    Attributes:
        words: after `reelstore`.
        reads: globs of files that it reads.
        folders: output folders of its own.
        files: output files.
        touches: what else it may write: paths or globs, and all below them.
        params: merged into params.yaml.
        remove: taken away first, so that there is something to do.
        overlay: folder of `project.overlays` that is laid over the project first.
        says_on_stdout: whether a result on stdout may come with exit code 1.
        notices: whether each change of a file it reads must give exit code 1.
        then: command that must succeed where this one has.
        seconds: about as long as it takes, for signals.
    """

    words: str
    reads: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    overlay: str = ""
    says_on_stdout: bool = False
    notices: bool = False
    then: str = ""
    seconds: float = 0.2


def dataset(**params: str) -> Command:
    table = params.get("captions", "captions.csv")
    return Command(
        "dataset",
        reads=(f"clips/{table}", f"clips/{table}", *CLIPS),
        folders=("data/drawn",),
        params={"dataset": params} if params else {},
    )


def embed(key: str, **more: Any) -> Command:
    reads = DATA + (CLIPS if key.startswith("video") else ())
    folder = f"store/drawn/{key}/tokens"
    return Command(
        f"embed {key}", reads=reads, folders=(folder,), touches=("runs", *GROUPS), remove=(folder,), seconds=0.6, **more
    )


def weights(key: str, maker: str, **options: Any) -> Command:
    """Embedding with a tiny checkpoint of one's own."""
    side = key.partition("/")[0]
    return Command(
        f"embed {key}",
        reads=(f"weights/{maker}/*",) * 4 + DATA,
        folders=(f"store/drawn/{key}/tokens",),
        touches=("runs", *GROUPS, f"store/drawn/{key}"),
        params={"streams": {key: {"model": f"weights/{maker}", **options}}, "model": {}},
        remove=(f"store/drawn/{side}",),
        overlay="weights",
        then=f"verify store/drawn/{key}",
        seconds=0.4,
    )


def align(name: str, *, words: str = "", **more: Any) -> Command:
    return Command(
        words or f"align {VIDEO} {TEXT} {name}",
        reads=("pairs/drawn/captions/*", *BOTH),
        folders=(f"models/drawn/{MODEL}/{name}", f"plots/drawn/{MODEL}/{name}/training"),
        touches=("runs", f"plots/drawn/{MODEL}/{name}"),
        seconds=1.0 if name == "mlp" else 0.4,
        **more,
    )


def evaluate(name: str, *, words: str = "") -> Command:
    model = () if name in ("cosine", "maxsim") else (f"models/drawn/{MODEL}/{name}/*",) * 3
    read = variants(V, "tokens") + variants(T, "tokens") if name == "maxsim" else BOTH
    plots = f"plots/drawn/{MODEL}/{name}/evaluation"
    return Command(
        words or f"evaluate {VIDEO} {TEXT} {name}",
        reads=(*DATA, *model, *read),
        folders=(plots,),
        files=(f"metrics/drawn/{MODEL}/{name}.json",),
    )


def imported(kind: str, source: str, side: str, *options: str, also: tuple[str, ...] = ()) -> Command:
    target = f"store/new/{side}/imported/mean"
    sources = (f"sources/{source}" if "." in source else f"sources/{source}/*",)
    return Command(
        f"import {kind} sources/{source} {target} {' '.join(options)}".strip(),
        reads=(*sources, *sources, *also),
        folders=(target,),
        touches=("runs", "store/new", *GROUPS),
        then=f"verify {target}",
    )


def exported(kind: str, *options: str) -> Command:
    path = "out.parquet" if kind == "parquet" else "out"
    return Command(
        f"export {kind} {T}/mean {path} {' '.join(options)}".strip(),
        reads=variants(T, "mean"),
        folders=() if kind == "parquet" else ("out",),
        files=("out.parquet",) if kind == "parquet" else (),
    )


def call(name: str, *, folders: tuple[str, ...] = (WRITTEN,), overlay: str = "written", **more: Any) -> Command:
    """A call of the library, by default on the variant that overlay `written` has."""
    more = {"reads": (f"{WRITTEN}/**/*",), "touches": GROUPS, **more}
    return Command(f"python {name}", folders=folders, overlay=overlay, **more)


def read_only(words: str, *reads: str, **more: Any) -> Command:
    return Command(words, reads=reads, **more)


_RIDGE, _MLP = (f"models/drawn/{MODEL}/{name}/*" for name in ("ridge", "mlp"))
_EVALUATION = f"plots/drawn/{MODEL}/ridge/evaluation"
_STREAM = {"streams": {f"text/{TEXT}": {"batch_size": 8, "keep": ["mean", "last"]}}, "encoders": {f"text/{TEXT}": None}}

LLM_LIKE = {"dataset": {"name": "llm", "kind": "llm-like", "source": "sources/llm-like.json", "captions": None}}

COMMANDS: dict[str, Command] = {
    "dataset": dataset(),
    "dataset of lines": dataset(captions="captions.jsonl"),
    "dataset of a parquet": dataset(captions="captions.parquet"),
    "dataset llm-like": Command(
        "dataset",
        reads=("sources/llm-like.json",),
        folders=("data/llm",),
        params=LLM_LIKE,
    ),
    "dataset msrvtt": Command(
        "dataset",
        reads=("msrvtt/annotations/*",),
        folders=("data/msr",),
        params={"dataset": {"name": "msr", "kind": "msrvtt", "source": "msrvtt", "cut": "full", "captions": None}},
        overlay="msrvtt",
    ),
    "embed videos": embed(f"video/{VIDEO}"),
    "embed captions": embed(f"text/{TEXT}"),
    "embed again": Command(
        f"embed --encoder text/{TEXT} --retry-failed --workers 1",
        reads=(*DATA, *variants(T, "tokens")),
        folders=(f"{T}/tokens",),
        touches=("runs", *GROUPS),
        then=f"verify {T}/tokens",
    ),
    "embed what changed": Command(
        f"embed video/{VIDEO}",
        reads=(*CLIPS, *variants(V, "tokens")),
        folders=(f"{V}/tokens",),
        touches=("runs", *GROUPS),
        params={"encoders": {f"video/{VIDEO}": {"n_frames": 1}}},
        then=f"verify {V}/tokens",
    ),
    "embed a stream": Command(
        f"embed text/{TEXT}",
        reads=(*DATA, *variants(T, "mean", "last")),
        folders=(f"{T}/mean", f"{T}/last", T),
        touches=("runs", *GROUPS, T),
        params=_STREAM,
        then=f"verify {T}/mean",
    ),
    "embed --dry-run": read_only(f"embed text/{TEXT} --dry-run", *DATA, *variants(T, "tokens"), remove=()),
    "embed --measure": read_only(f"embed text/{TEXT} --dry-run --measure", *DATA, remove=(f"{T}/tokens",)),
    "embed check": read_only(f"embed check video/{VIDEO} --videos 2", *DATA, *CLIPS, seconds=0.6),
    "embed plan": Command(
        f"embed plan text/{TEXT} --retry-failed", reads=DATA, touches=("runs",), remove=(f"{T}/tokens",)
    ),
    "embed task": Command(
        "embed task",
        reads=("runs/embed/**/*",),
        folders=("runs/embed/drawn/text",),
        touches=("runs",),
        remove=(f"{T}/tokens",),
        overlay="planned",
    ),
    "embed finalise": Command(
        "embed finalise",
        reads=("runs/embed/**/*",),
        folders=(f"{T}/tokens",),
        touches=("runs", *GROUPS),
        remove=(f"{T}/tokens",),
        overlay="staged",
        then=f"verify {T}/tokens",
    ),
    "embed with hf-lm": weights(
        "text/hf-lm", "language_model", layers=[2], template="Caption: {caption}", keep=["layer-2.mean"]
    ),
    "embed with clip": weights("text/clip", "clip", keep=["embedding"]),
    "embed with siglip2": weights("video/siglip2", "siglip2", n_frames=2, keep=["mean"]),
    "embed with xclip": weights("video/xclip", "xclip", keep=["embedding"]),
    "pool videos": Command(
        f"pool video/{VIDEO}",
        reads=variants(V, "tokens", *POOLINGS),
        folders=tuple(f"{V}/{name}" for name in POOLINGS),
        touches=GROUPS,
        then=f"verify {V}/mean",
    ),
    "pool captions": Command(
        f"pool --encoder text/{TEXT} --store store/drawn",
        reads=variants(T, "tokens"),
        folders=tuple(f"{T}/{name}" for name in POOLINGS),
        touches=GROUPS,
        remove=tuple(f"{T}/{name}" for name in POOLINGS[1:]),
        then=f"verify {T}/sum",
    ),
    "pairs": Command("pairs captions", reads=DATA, folders=("pairs/drawn/captions",)),
    "pairs with hard negatives": Command(
        "pairs --set hard", reads=(*DATA, *variants(T, "mean")), folders=("pairs/drawn/hard",)
    ),
    "pairs of a stage": Command("pairs --stage mined@hard", reads=DATA, folders=("pairs/drawn/hard",)),
    "leakage": Command(
        f"leakage --variant video/{VIDEO}/mean",
        reads=variants(V, "mean"),
        folders=(f"plots/drawn/leakage/video/{VIDEO}/mean",),
    ),
    "grid": Command(
        f"grid {NAMED} --grid grid",
        reads=("data/drawn/dataset.json", *variants(V, *POOLINGS), *variants(T, *POOLINGS)),
        folders=(f"plots/drawn/{MODEL}/grid",),
        files=(f"metrics/drawn/{MODEL}/grid.json",),
    ),
    "doctor": Command(
        f"doctor {MODEL}",
        reads=(*DATA, *variants(V, *POOLINGS), *variants(T, *POOLINGS)),
        folders=(f"plots/drawn/{MODEL}/doctor",),
        files=(f"metrics/drawn/{MODEL}/doctor.json",),
        params={"doctor": {"allow": ["probe"]}},
        says_on_stdout=True,
    ),
    "doctor of an aligner": read_only(
        f"doctor {MODEL} --aligner mlp --no-fail", *BOTH, _MLP, "pairs/drawn/captions/*", says_on_stdout=True
    ),
    "doctor of a store": read_only(
        f"doctor --store store/drawn --video {VIDEO}/mean --text {TEXT}/mean --no-fail", *BOTH, says_on_stdout=True
    ),
    "align unaligned": align("unaligned", words=f"align {NAMED} --aligner unaligned"),
    "align ridge": align("ridge"),
    "align mlp": align("mlp"),
    "align from a checkpoint": align("mlp", overlay="live", params=LIVE),
    "check-loader": read_only(
        f"check-loader {NAMED} --aligner mlp --batches 2", "pairs/drawn/captions/*", *BOTH, says_on_stdout=True
    ),
    "apply": Command(
        f"apply {VIDEO} {TEXT} ridge",
        reads=(_RIDGE, _RIDGE, *BOTH, f"store/drawn/*/{MODEL}/aligned.ridge/**/*"),
        folders=tuple(f"store/drawn/{side}/{MODEL}/aligned.ridge" for side in ("video", "text")),
        touches=("runs", *GROUPS),
    ),
    "apply anew": Command(
        f"apply {NAMED} --aligner mlp",
        reads=(_MLP, _MLP, *BOTH),
        folders=tuple(f"store/drawn/{side}/{MODEL}/aligned.mlp" for side in ("video", "text")),
        touches=("runs", *GROUPS),
        then=f"verify store/drawn/text/{MODEL}/aligned.mlp",
        params={"apply": {"mlp": {}}},
    ),
    "evaluate ridge": evaluate("ridge"),
    "evaluate mlp": evaluate("mlp"),
    "evaluate kernel-ridge": evaluate("kernel-ridge"),
    "evaluate asif": evaluate("asif"),
    "evaluate a scorer": evaluate("cosine"),
    "evaluate maxsim": evaluate("maxsim", words=f"evaluate {NAMED} --aligner maxsim"),
    "evaluate a store": Command(
        f"evaluate --store store/drawn --text {MODEL}/aligned.ridge --video {MODEL}/aligned.ridge --split test "
        "--output out",
        reads=(f"store/drawn/*/{MODEL}/aligned.ridge/**/*",),
        folders=("out",),
    ),
    "evaluate files": Command(
        "evaluate --text sources/array.npy --video sources/videos.npy --keys sources/pairs.csv --output out "
        "--similarity dot --ties optimistic -k 1 -k 3",
        reads=("sources/array.npy", "sources/videos.npy", "sources/pairs.csv"),
        folders=("out",),
    ),
    "evaluate files into a store": Command(
        "evaluate --text sources/array.npy --video sources/videos.npy --keys sources/pairs.csv --store store/new "
        "--encoder mine --dtype float16",
        reads=("sources/array.npy", "sources/videos.npy", "sources/pairs.csv"),
        folders=("store/new/text/mine/embedding", "store/new/video/mine/embedding"),
        touches=("runs", "store/new", *GROUPS),
    ),
    "protocol": Command(
        f"protocol {NAMED} --aligner ridge --protocol dsl",
        reads=(_RIDGE, *BOTH),
        folders=(f"plots/drawn/{MODEL}/protocols/ridge.dsl",),
        files=(f"metrics/drawn/{MODEL}/protocols/ridge.dsl.json",),
    ),
    "oracle": Command(
        "oracle",
        reads=("sources/llm-like.json", "data/llm/**/*"),
        files=("metrics/llm/oracle.json",),
        params=LLM_LIKE,
        overlay="llm-like",
    ),
    "splits": Command(
        f"splits {MODEL} unaligned ridge --seeds 2 --json",
        reads=(*DATA, "pairs/drawn/captions/*", *BOTH),
        touches=("runs",),
        seconds=0.5,
    ),
    "compare": read_only(
        f"compare plots/drawn/{MODEL}/ridge plots/drawn/{MODEL}/unaligned --primary t2v.R@01 --changed 2 "
        "--fail-if t2v.MRR<-99pt",
        f"{_EVALUATION}/*",
        f"{_EVALUATION}/queries.parquet",
        says_on_stdout=True,
    ),
    "compare metrics": read_only(
        f"compare metrics/drawn/{MODEL}/ridge.json metrics/drawn/{MODEL}/unaligned.json --json",
        f"{_EVALUATION}/*",
        f"metrics/drawn/{MODEL}/ridge.json",
        says_on_stdout=True,
    ),
    "metrics check": read_only("metrics check", f"metrics/drawn/{MODEL}/ridge.json", says_on_stdout=True),
    "report": Command(
        "report",
        reads=(f"metrics/drawn/{MODEL}/**/*", f"plots/drawn/{MODEL}/**/*", f"metrics/drawn/{MODEL}/*.json"),
        folders=("report/drawn",),
    ),
    "show": read_only("show", f"metrics/drawn/{MODEL}/**/*", f"plots/drawn/{MODEL}/*/evaluation/*"),
    "search": read_only(
        f"search {MODEL} red --aligner ridge", _RIDGE, f"store/drawn/video/{MODEL}/aligned.ridge/**/*", *BOTH
    ),
    "search through an mlp": read_only(f"search {MODEL} red --aligner mlp --json -k 3 --split test", _MLP, *BOTH),
    "ls": read_only("ls store", f"{T}/**/*", f"{T}/mean/**/*", "store/**/zarr.json", says_on_stdout=True),
    "info": read_only(f"info {T}/mean", *variants(T, "mean"), f"{T}/mean/zarr.json"),
    "verify": read_only("verify store/drawn", *variants(T, "tokens", "mean"), says_on_stdout=True, notices=True),
    "verify one": read_only(
        f"verify {V}/mean --all-rows",
        *variants(V, "mean"),
        f"{V}/mean/zarr.json",
        says_on_stdout=True,
        notices=True,
        then=f"export safetensors {V}/mean exported/verified",
    ),
    "verify --quick": read_only("verify store/drawn --quick", f"{T}/mean/**/*", says_on_stdout=True),
    "repair": Command(
        "repair store/drawn",
        reads=(*DATA, *variants(T, "tokens", "mean"), _RIDGE, f"store/drawn/text/{MODEL}/aligned.ridge/**/*"),
        folders=(f"{T}/tokens", f"{T}/mean", f"store/drawn/text/{MODEL}/aligned.ridge"),
        touches=("runs", "store/drawn"),
        says_on_stdout=True,
        then="verify store/drawn",
    ),
    "migrate": Command(
        "migrate store/drawn",
        reads=variants(T, "tokens", "mean"),
        folders=(f"{T}/tokens", f"{T}/mean"),
        touches=("store/drawn",),
        says_on_stdout=True,
    ),
    "reproduce report": Command(
        "reproduce report --on drawn --seeds 1 --only report-01 --width 8 --token-width 8 --epochs 1 --steps 2",
        reads=(*DATA, *BOTH, "runs/reproduce/**/*"),
        folders=("report/reproduce-drawn", f"models/drawn/{MODEL}/report-01", "pairs/drawn/report-1"),
        files=(f"metrics/drawn/{MODEL}/report-01.json", f"metrics/drawn/{MODEL}/doctor.json"),
        touches=("runs", f"plots/drawn/{MODEL}", "pairs/drawn", *GROUPS),
        overlay="reproduced",
        seconds=1.5,
    ),
    "compare with a revision": read_only(
        f"compare plots/drawn/{MODEL}/ridge --rev HEAD",
        f"{_EVALUATION}/*",
        ".git/config",
        ".git/HEAD",
        ".git/index",
        overlay="repository",
        says_on_stdout=True,
    ),
    "params": read_only("params"),
    "params of a section": read_only("params embed"),
    "params --schema": read_only("params --schema"),
    "preset list": read_only("preset list"),
    "preset show": read_only("preset show llm-like"),
    "preset apply --dry-run": read_only("preset apply llm-like --dry-run", "params.yaml"),
    "preset apply": Command("preset apply llm-like", reads=("params.yaml",), files=("params.yaml",)),
    "import npy": imported("npy", "npy", "video"),
    "import npy with keys": imported(
        "npy", "npy", "video", "--keys sources/videos.csv", also=("sources/videos.csv",) * 2
    ),
    "import array": imported("array", "array.npy", "text", "--keys sources/keys.csv", also=("sources/keys.csv",) * 2),
    "import array with lines": imported(
        "array", "array.npy", "text", "--keys sources/keys.jsonl", also=("sources/keys.jsonl",) * 2
    ),
    "import array with parquet": imported(
        "array", "array.npy", "text", "--keys sources/keys.parquet", also=("sources/keys.parquet",) * 2
    ),
    "import ragged": imported(
        "array",
        "array.npy",
        "text",
        "--keys sources/keys.csv --offsets sources/offsets.npy --layout ragged",
        also=("sources/offsets.npy",) * 2,
    ),
    "import npy of some": imported(
        "npy",
        "npy",
        "video",
        "--keys sources/named.csv --name-column name --allow-missing",
        also=("sources/named.csv",) * 2,
    ),
    "import hdf5": imported("hdf5", "vectors.h5", "video", "--prefix v --split train --dtype float16 --revision r1"),
    "import hdf5 groups": imported("hdf5", "groups.h5", "video", "--dataset c3d"),
    "import npz": imported("npz", "vectors.npz", "video"),
    "import npz --dry-run": read_only(
        "import npz sources/vectors.npz store/new/video/n/mean --dry-run", "sources/vectors.npz"
    ),
    "import npz of captions": imported("npz", "captions.npz", "text", "--captions numbered --first 0"),
    "import torch": imported("torch", "vectors.pt", "video"),
    "import parts": imported(
        "array",
        "emb",
        "video",
        "--keys sources/metadata --id-column path --suffix .jpg",
        also=("sources/metadata/*",) * 2,
    ),
    "import shards": imported("parquet", "saved", "video"),
    "import parquet": imported("parquet", "vectors.parquet", "video", "--vector embedding --id-column video_id"),
    "import arrow": imported("parquet", "vectors.arrow", "video"),
    "import arrow tokens": imported("parquet", "tokens.arrow", "video", "--layout ragged"),
    "import safetensors": imported("safetensors", "vectors.safetensors", "video"),
    "import one tensor": imported(
        "safetensors", "matrix.safetensors", "video", "--keys sources/videos.csv", also=("sources/videos.csv",)
    ),
    "export npy": exported("npy"),
    "export array": exported("array", "--split test"),
    "export parquet": exported("parquet"),
    "export safetensors": exported("safetensors"),
    "export faiss": exported("faiss", "--normalize"),
    "export --force": Command(
        f"export npy {V}/mean exported/npy --force",
        reads=(*variants(V, "mean"), "exported/npy/*"),
        folders=("exported/npy",),
    ),
    "export --force parquet": Command(
        f"export parquet {V}/mean exported/mean.parquet --force",
        reads=(*variants(V, "mean"), "exported/mean.parquet"),
        files=("exported/mean.parquet",),
    ),
    "python write": call("write", overlay="", reads=(), then=f"verify {WRITTEN}"),
    "python write-tokens": call(
        "write-tokens", folders=("store/python/text/encoder/tokens",), then="verify store/python/text/encoder/tokens"
    ),
    "python update": call("update", then=f"verify {WRITTEN}"),
    "python append": call("append", then=f"verify {WRITTEN}"),
    "python replace": call("replace", then=f"verify {WRITTEN}"),
    "python delete": call("delete", touches=("store/python",)),
    "python rename": call(  # which moves bytes as they are
        "rename", folders=(WRITTEN, "store/python/text/encoder/max"), touches=("store/python",)
    ),
    "python read": call("read", folders=(), overlay="", reads=(*variants(T, "mean"), *variants(V, "tokens"))),
    "python fit": call("fit", folders=("mine",), overlay="", reads=BOTH),
    "python fit-mlp": call("fit-mlp", folders=("mine", "kept"), overlay="", reads=BOTH, seconds=1.0),
    "python search": call("search", folders=(), overlay="", reads=(_RIDGE, _RIDGE, *BOTH)),
    "python encode": call("encode", folders=(), overlay="", reads=()),
}
"""Name -> command. Every one of them reads params.yaml too, unless it is about stores alone."""

WITHOUT_PARAMS = (
    *("ls", "info", "verify", "params", "import", "export", "compare", "python", "doctor --store"),
    *("preset list", "preset show"),
)
"""First words of commands that don't read params.yaml."""
