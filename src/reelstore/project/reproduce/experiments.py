"""The report's ten experiments as settings, at the report's size or a smaller one, and the recipes beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reelstore.align.registry import ALIGNERS
from reelstore.project.presets.catalogue import load_preset
from reelstore.project.settings import PairsParams

REPORT_WIDTH = 4096
REPORT = tuple(f"report-{number:02d}" for number in range(1, 11))
_WHITENED = ["mean", "standardise", "whiten", "unit"]
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "recipe-ridge": ("ridge regression, closed form", {"kind": "ridge"}),
    "recipe-cca": ("CCA on caption pairs, closed form", {"kind": "cca"}),
    "recipe-kernel-ridge": ("RBF kernel ridge, closed form", {"kind": "kernel-ridge"}),
    "recipe-mlp": (
        "residual MLP, standardised and whitened, InfoNCE, batch 1,024",
        {"kind": "mlp", "preprocess": _WHITENED, "widths": [512, 256], "loss": "infonce", "batch_size": 1024},
    ),
}
"""Name -> what it is, settings; those whose kind is there are run."""


@dataclass(frozen=True)
class Scale:
    """How much smaller than in the report.

    Attributes:
        width: what 4,096 becomes in an MLP; other widths in proportion.
        token_width: of the transformer, and of its [CLS].
        epochs: at most; where a tenth of the report's is more, that.
        steps: of an epoch, at most; batches are drawn from all pairs.
        recipe_epochs: of the recipes that are trained, at most.
    """

    width: int = 256
    token_width: int = 64
    epochs: int = 5
    steps: int = 100
    recipe_epochs: int = 200

    def __str__(self) -> str:
        return (
            f"MLPs {self.width} wide where the report has 4,096, other widths in proportion; transformers "
            f"{self.token_width} wide; {self.epochs} epochs or, where that is more, a tenth of the report's, of at "
            f"most {self.steps} steps"
        )

    def applied(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the report, made smaller."""
        smaller = dict(settings)
        if settings["kind"] == "mlp":
            smaller["widths"] = [max(8, width * self.width // REPORT_WIDTH) for width in settings["widths"]]
        else:
            smaller |= {"width": self.token_width, "dim": self.token_width, "feedforward": 4 * self.token_width}
        # In proportion where there are many, so that trainings which differ in nothing else still do.
        epochs = min(settings["max_epochs"], max(self.epochs, settings["max_epochs"] // 10))
        trainer = {**settings["trainer"], "limit_train_batches": self.steps}
        return {**smaller, "max_epochs": epochs, "patience": epochs, "trainer": trainer}


@dataclass(frozen=True)
class Experiment:
    """One of the ten, or a recipe.

    Attributes:
        name: of its aligner.
        title: what it is, in words.
        settings: of its aligner.
        pairs: the sets of pairs its preset brings.
    """

    name: str
    title: str
    settings: dict[str, Any]
    pairs: Mapping[str, PairsParams]

    def seeded(self, seed: int) -> "Experiment":
        """The same with another seed; closed forms have none."""
        if not seed:
            return self
        return Experiment(f"{self.name}-seed-{seed}", self.title, {**self.settings, "seed": seed}, self.pairs)

    @property
    def trained(self) -> bool:
        """Whether a seed makes a difference."""
        return self.settings["kind"] in ("mlp", "transformer", "attention-pool")


def experiments(scale: Scale | None) -> list[Experiment]:
    """All of the report's, then the recipes; as in the report where there is no scale."""
    found = []
    for name in REPORT:
        preset = load_preset(name)
        values = {key: snippet.value for key, snippet in preset.values.items()}
        settings = values[f"aligners.{name}"]
        pairs = {
            key.removeprefix("pairs."): PairsParams(**value)
            for key, value in values.items()
            if key.startswith("pairs.")
        }
        title = preset.description.partition(": ")[2]
        found.append(Experiment(name, title, dict(settings) if scale is None else scale.applied(settings), pairs))
    for name, (title, settings) in RECIPES.items():
        if settings["kind"] in ALIGNERS:
            epochs = {"max_epochs": scale.recipe_epochs} if scale and settings["kind"] == "mlp" else {}
            found.append(Experiment(name, title, {**settings, **epochs}, {}))
    return found
