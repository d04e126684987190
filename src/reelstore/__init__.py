"""An embedding store for text-video retrieval: embeddings in Zarr, versions in DVC, aligners, exact evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelstore.encoders.use import encoder
    from reelstore.evaluation import evaluate
    from reelstore.ranking import nearest
    from reelstore.store.open import open_store as open

__version__ = "0.1.0"
__all__ = ["__version__", "encoder", "evaluate", "nearest", "open"]

# Imported on first use, so that `import reelstore` and `reelstore --help` stay instant.
_WHERE = {
    "open": ("reelstore.store.open", "open_store"),
    "evaluate": ("reelstore.evaluation", "evaluate"),
    "nearest": ("reelstore.ranking", "nearest"),
    "encoder": ("reelstore.encoders.use", "encoder"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'reelstore' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)
