"""Where the files of a project are: every path once, and from a path back to what it is of.

On the ground floor, since a store finds its dataset's tables by it, and a download or an import its place outside the
store. dvc.yaml has the same paths.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUNS = Path("runs")
"""What stages keep between runs, and DVC and git don't: DVC removes a stage's outputs before it runs."""
STORES = Path("store")
"""Folder of the stores of all datasets."""
DOWNLOADS = RUNS / "downloads"
_DATA, _PAIRS, _MODELS, _METRICS, _PLOTS, _REPORT = (
    "data", "pairs", "models", "metrics", "plots", "report"
)  # fmt: skip
_RESCORED = "protocols"


@dataclass(frozen=True)
class Layout:
    """Paths of one dataset of a project.

    `model` is `<video encoder>+<text encoder>`, `name` an aligner, a scorer, or what else is measured:
    `grid`, `doctor`.

    Attributes:
        dataset: its name.
        root: the project's folder.

    Example:
        >>> Layout("emoji").metrics("clip+clip", "ridge").as_posix()
        'metrics/emoji/clip+clip/ridge.json'
    """

    dataset: str
    root: Path = Path()

    @property
    def data(self) -> Path:
        """Tables of videos and captions, and clips that were fetched."""
        return self.root / _DATA / self.dataset

    @property
    def store(self) -> Path:
        """Embeddings."""
        return self.root / STORES / self.dataset

    @property
    def report(self) -> Path:
        """The page of all results."""
        return self.root / _REPORT / self.dataset / "index.html"

    def aligned(self, side: str, model: str, aligner: str) -> Path:
        """What an aligner makes of a side."""
        return self.store / side / model / aligned_variant(aligner)

    def pairs(self, name: str) -> Path:
        """One set of pairs."""
        return self.root / _PAIRS / self.dataset / name

    def aligner(self, model: str, name: str) -> Path:
        """A fitted aligner."""
        return self.root / _MODELS / self.dataset / model / name

    def metrics(self, model: str, name: str) -> Path:
        """A result's metrics."""
        return self._metrics / model / f"{name}.json"

    def rescored_metrics(self, model: str, name: str, rescoring: str) -> Path:
        """The metrics of an aligner's rescored scores."""
        return self._metrics / model / _RESCORED / f"{name}.{rescoring}.json"

    @property
    def oracle_metrics(self) -> Path:
        """The metrics of a drawn dataset's truth."""
        return self._metrics / "oracle.json"

    def plots(self, model: str, name: str) -> Path:
        """What is drawn of a result, in one or several files."""
        return self._plots / model / name

    def training(self, model: str, name: str) -> Path:
        """An aligner's training curves."""
        return self.plots(model, name) / "training"

    def evaluation(self, model: str, name: str) -> Path:
        """Details, curves and queries behind a result's metrics."""
        return self.plots(model, name) / "evaluation"

    def rescored(self, model: str, name: str, rescoring: str) -> Path:
        """Details, curves and queries behind the metrics of rescored scores."""
        return self._plots / model / _RESCORED / f"{name}.{rescoring}"

    def near_duplicates(self, variant: str) -> Path:
        """Near-duplicates between splits, in one variant."""
        return self._plots / "leakage" / variant / "near.csv"

    def reproduction(self, name: str) -> Path:
        """The pages of a reproduction."""
        return self.root / _REPORT / f"{name}-{self.dataset}"

    def run(self, kind: str, *names: str) -> Path:
        """What a kind of run keeps outside of outputs: `embed`, `align`, `splits`, ..."""
        return self.root / RUNS / kind / Path(self.dataset, *names)

    def all_metrics(self) -> Iterator["MetricsFile"]:
        """The metrics files that there are, of whatever model, sorted by path."""
        for path in sorted(self._metrics.rglob("*.json")):
            if (found := MetricsFile.parse(path)) is not None:
                yield found

    @property
    def _metrics(self) -> Path:
        return self.root / _METRICS / self.dataset

    @property
    def _plots(self) -> Path:
        return self.root / _PLOTS / self.dataset


@dataclass(frozen=True)
class MetricsFile:
    """A metrics file, and what its path says.

    Attributes:
        path: the file.
        layout: of its project and dataset.
        model: `<video encoder>+<text encoder>`; empty of a dataset's own result.
        name: aligner, scorer, or what else was measured.
        rescoring: its name; empty of plain scores.
    """

    path: Path
    layout: Layout
    model: str
    name: str
    rescoring: str = ""

    @classmethod
    def parse(cls, path: Path) -> "MetricsFile | None":
        """From a path, relative or absolute; None where it isn't the path of a project's metrics.

        Example:
            >>> found = MetricsFile.parse(Path("metrics/emoji/clip+clip/protocols/ridge.dsl.json"))
            >>> found.label, found.evidence.as_posix()
            ('clip+clip/protocols/ridge.dsl', 'plots/emoji/clip+clip/protocols/ridge.dsl')
        """
        parts = path.parts
        if path.suffix != ".json" or _METRICS not in parts:
            return None
        at = len(parts) - 1 - parts[::-1].index(_METRICS)
        root = Path(*parts[:at])
        match parts[at + 1 :]:
            case (dataset, file):
                return cls(path, Layout(dataset, root), "", Path(file).stem)
            case (dataset, model, file):
                return cls(path, Layout(dataset, root), model, Path(file).stem)
            case (dataset, model, folder, file) if folder == _RESCORED:
                name, _, rescoring = Path(file).stem.partition(".")
                return cls(path, Layout(dataset, root), model, name, rescoring)
        return None

    @property
    def label(self) -> str:
        """The path below the dataset's metrics, without its ending; thresholds name results by it."""
        model = f"{self.model}/" if self.model else ""
        return f"{model}{_RESCORED}/{self.name}.{self.rescoring}" if self.rescoring else f"{model}{self.name}"

    @property
    def evidence(self) -> Path:
        """The folder of details, curves and queries behind it."""
        if self.rescoring:
            return self.layout.rescored(self.model, self.name, self.rescoring)
        return self.layout.evaluation(self.model, self.name)


def layout_of(store: Path) -> Layout:
    """The layout of a dataset's store, which is wherever the store is.

    Example:
        >>> layout_of(Path("/projects/mine/store/emoji")).data.as_posix()
        '/projects/mine/data/emoji'
    """
    return Layout(store.name, store.parent.parent)


def is_store_root(folder: Path) -> bool:
    """Whether this folder is called as the one in which a project has the stores of its datasets."""
    return folder.name == STORES.name


def aligned_variant(aligner: str) -> str:
    """The variant that an aligner makes of either side."""
    return f"aligned.{aligner}"
