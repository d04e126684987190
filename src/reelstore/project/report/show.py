"""The end of a run for people: the results as a table, where files are, and what to try next."""

from dataclasses import dataclass

from reelstore.project.report.results import Result, printed_columns, read_results
from reelstore.project.settings import Params
from reelstore.project.split import counts_in_words


@dataclass(frozen=True)
class Shown:
    """Results of one dataset."""

    dataset: str
    results: tuple[Result, ...]

    def summary(self) -> str:
        """The table and what is around it."""
        blocks = [self._table(model) for model in dict.fromkeys(result.model for result in self.results)]
        variant = self.results[0].details["video"]["variant"]
        trained = any(result.aligner == "mlp" for result in self.results)
        return "\n\n".join(
            [
                *blocks,
                f"store    store/{self.dataset}      (reelstore ls store/{self.dataset})\n"
                f"metrics  metrics/{self.dataset}    (dvc metrics show)\n"
                f"plots    plots/{self.dataset}      (dvc plots show)\n"
                f"report   report/{self.dataset}/index.html",
                "Try next:\n"
                + ("  dvc exp run -S aligners.mlp.lr=3e-4    and then  dvc metrics diff\n" if trained else "")
                + f"  reelstore info store/{self.dataset}/{variant}\n"
                "  your own videos: docs/dataset-folder.md",
            ]
        )

    def _table(self, model: str) -> str:
        results = [result for result in self.results if result.model == model]
        details = results[0].details
        columns = printed_columns(results[0].metrics)
        rows = [["", *(f"{direction} {name}" for direction, name in columns)]]
        rows.append(["chance", *results[0].cells(details["chance"])])
        rows += [[result.aligner, *result.cells(result.metrics)] for result in results]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
        head = f"{self.dataset}, {model}, {counts_in_words(details).replace(' split, ', ' split: ', 1)}"
        return "\n".join([head, *lines])


def results(params: Params) -> Shown:
    """What `dvc repro` has found so far."""
    return Shown(params.dataset.name, tuple(read_results(params)))
