"""An embedding store for text-video retrieval: embeddings in Zarr, versions in DVC, aligners, exact evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelstore.align.registry import FittedAligner, load_aligner
    from reelstore.encoders.use import encoder
    from reelstore.errors import ReelstoreError
    from reelstore.evaluation import Evaluation, evaluate
    from reelstore.fitting import fit
    from reelstore.ranking import nearest
    from reelstore.retrieval import search
    from reelstore.store.open import Store, open_variant
    from reelstore.store.open import open_store as open
    from reelstore.store.read import Rows

__version__ = "0.1.0"
__all__ = [
    "Evaluation",
    "FittedAligner",
    "ReelstoreError",
    "Rows",
    "Store",
    "__version__",
    "encoder",
    "evaluate",
    "fit",
    "load_aligner",
    "nearest",
    "open",
    "open_variant",
    "search",
]

# Imported on first use, so that `import reelstore` and `reelstore --help` stay instant.
_WHERE = {
    "Evaluation": "evaluation:Evaluation",
    "FittedAligner": "align.registry:FittedAligner",
    "ReelstoreError": "errors:ReelstoreError",
    "Rows": "store.read:Rows",
    "Store": "store.open:Store",
    "encoder": "encoders.use:encoder",
    "evaluate": "evaluation:evaluate",
    "fit": "fitting:fit",
    "load_aligner": "align.registry:load_aligner",
    "nearest": "ranking:nearest",
    "open": "store.open:open_store",
    "open_variant": "store.open:open_variant",
    "search": "retrieval:search",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'reelstore' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    found: object = getattr(import_module(f"reelstore.{module}"), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "import_module"})
