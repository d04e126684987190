"""Every path of a project is spelled once, and dvc.yaml has the same ones."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from reelstore.layout import Layout, MetricsFile, layout_of

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "reelstore"
TOP = {"data", "store", "pairs", "models", "metrics", "plots", "evaluation", "report", "runs"}
MODEL = "clip+minilm"


def is_top(value: object) -> bool:
    return isinstance(value, str) and Path(value).parts[:1] != () and Path(value).parts[0] in TOP


def spelled(tree: ast.AST) -> list[int]:
    """Lines of `Path("metrics", ...)`, `... / "metrics"` and `f"{video}+{text}"`."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Path"), args=[ast.Constant(value=str(first)), *_]) if is_top(first):
                found.append(node.lineno)
            case ast.BinOp(op=ast.Div(), right=ast.Constant(value=str(right))) if right in TOP - {"models", "data"}:
                found.append(node.lineno)
            case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value="+"), ast.FormattedValue()]):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_other_module_spells_a_path_of_a_project(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    # records.py names a pair of encoders; curves.py has the folders of DVCLive, below a path of ours.
    if name not in ("layout.py", "records.py", "project/align/curves.py"):
        assert not spelled(ast.parse(path.read_text())), f"{name}: take it from reelstore.layout"


def test_a_path_that_is_spelled_is_found() -> None:
    lines = ['Path("metrics", name)', 'root / "runs"', 'f"{video}+{text}"', 'Path("plots/x")', 'Path("other")']
    assert spelled(ast.parse("\n".join(lines))) == [1, 2, 3, 4]


LAYOUT = Layout("emoji")
FILES = [
    LAYOUT.metrics(MODEL, "ridge"),
    LAYOUT.metrics(MODEL, "grid"),
    LAYOUT.rescored_metrics(MODEL, "ridge", "dsl"),
    LAYOUT.oracle_metrics,
    Layout("emoji", Path("/projects/metrics")).metrics(MODEL, "ridge"),
]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_metrics_file_says_what_it_is_of(path: Path) -> None:
    found = MetricsFile.parse(path)
    assert found is not None and found.layout.dataset == "emoji"
    again = found.layout
    assert path == (
        again.rescored_metrics(found.model, found.name, found.rescoring) if found.rescoring
        else again.metrics(found.model, found.name) if found.model else again.oracle_metrics
    )  # fmt: skip
    assert path.relative_to(again.root / "metrics" / "emoji").with_suffix("").as_posix() == found.label
    assert found.evidence.is_relative_to(again.root / "plots" / "emoji")


@pytest.mark.parametrize(
    "path", ["ridge.json", "metrics/emoji", "metrics/a/b/c/d/e.json", "metrics/a/b.csv", "x/y.json"]
)
def test_other_paths_are_no_metrics_files(path: str) -> None:
    assert MetricsFile.parse(Path(path)) is None


def test_the_metrics_that_there_are(tmp_path: Path) -> None:
    layout = Layout("emoji", tmp_path)
    assert list(layout.all_metrics()) == []
    made = [layout.metrics(MODEL, "ridge"), layout.rescored_metrics(MODEL, "ridge", "dsl"), layout.oracle_metrics]
    for path in (*made, Layout("other", tmp_path).oracle_metrics):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert sorted(file.label for file in layout.all_metrics()) == [
        f"{MODEL}/protocols/ridge.dsl", f"{MODEL}/ridge", "oracle"
    ]  # fmt: skip


def test_a_store_knows_where_its_dataset_is() -> None:
    assert layout_of(Path("/projects/mine/store/emoji")).data == Path("/projects/mine/data/emoji")
    assert layout_of(Path("store/emoji")) == LAYOUT


def test_dvc_yaml_has_these_paths() -> None:
    names = {
        "dataset.name": "emoji", "item.video": "clip", "item.text": "minilm", "item.aligner": "ridge",
        "item.protocol": "dsl", "item.variant": "video/clip/mean", "item.set": "captions", "key": "captions",
        "item.grid": "more", "item.encoder": "video/clip", "item.embedding": "text/minilm/mean",
    }  # fmt: skip
    found = set()

    def collect(outs: object) -> None:
        for out in outs if isinstance(outs, list) else []:
            (path,) = out if isinstance(out, dict) else [out]
            found.add(re.sub(r"\$\{([^}]*)\}", lambda match: names[match[1]], path))

    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        body = stage.get("do", stage)
        for kind in ("outs", "metrics", "plots"):
            collect(body.get(kind))
    expected = {
        LAYOUT.data, LAYOUT.pairs("captions"), LAYOUT.aligner(MODEL, "ridge"), LAYOUT.metrics(MODEL, "ridge"),
        LAYOUT.metrics(MODEL, "grid"), LAYOUT.metrics(MODEL, "doctor"), LAYOUT.rescored_metrics(MODEL, "ridge", "dsl"),
        LAYOUT.training(MODEL, "ridge"), LAYOUT.evaluation(MODEL, "ridge") / "queries.parquet",
        LAYOUT.rescored(MODEL, "ridge", "dsl"), LAYOUT.plots(MODEL, "doctor"), LAYOUT.plots(MODEL, "grid") / "grid.svg",
        LAYOUT.near_duplicates("video/clip/mean"), LAYOUT.aligned("video", MODEL, "ridge"), LAYOUT.report.parent,
    }  # fmt: skip
    assert {path.as_posix() for path in expected} <= found
