"""What aligners' settings may be: one meaning a name, whichever the kind."""

from reelstore.settings import SEED, SHARE, Limit, Range

_COUNT = Range(1, 1_000_000)
_WIDTH = Range(1, 65_536)
_POSITIVE = Range(0, 10**12, above=True)

LIMITS: dict[str, Limit] = {
    "alphas": _POSITIVE,
    "anchors": _COUNT,
    "batch_size": Range(2, 10_000_000),
    "checkpoint_steps": Range(0, 10**9),
    "chunk": Range(0, 10**9),
    "components": _WIDTH,
    "dim": Range(0, 65_536),
    "dims": _WIDTH,
    "dropout": Range(0, 1, below=True),
    "feedforward": _WIDTH,
    "gammas": _POSITIVE,
    "kept": _COUNT,
    "landmarks": _COUNT,
    "lr": Range(0, 100, above=True),
    "margin": Range(-1, 1),
    "max_epochs": _COUNT,
    "n_heads": Range(1, 1024),
    "n_layers": Range(1, 1024),
    "n_queries": Range(1, 1024),
    "patience": Range(0, 1_000_000),
    "powers": Range(0, 100),
    "regularisations": _POSITIVE,
    "seed": SEED,
    "shrinkage": SHARE,
    "temperature": Range(0, 1000, above=True),
    "threads": Range(1, 1024),
    "warm_up": SHARE,
    "weight_decay": Range(0, 1000),
    "width": Range(0, 65_536),
    "widths": _WIDTH,
}
