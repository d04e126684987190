"""What can go wrong, named after the fact; every message says what, where, and what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class ReelstoreError(Exception):
    """Base of every expected error; the command line prints it without a traceback."""


class ReelstoreWarning(UserWarning):
    """Something is probably not as meant; the command line prints it as one line."""


class ParamsError(ReelstoreError, ValueError):
    """A value in params.yaml is unknown, missing, of the wrong kind or out of range; `key` is its dotted key."""

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class PresetError(ParamsError):
    """A preset can't be applied to this params.yaml."""


class DatasetError(ReelstoreError, ValueError):
    """A dataset's files or tables contradict themselves or the protocol they claim."""


class LeakageError(DatasetError):
    """One split gives another away: they share files, texts, or what is nearly the same."""


class DownloadError(ReelstoreError, OSError):
    """A download broke off or isn't what its pinned hash says."""


class UnusableItemError(ReelstoreError, ValueError):
    """A video or caption can't be embedded; the message is the reason kept with its row."""


class UndecodableVideoError(UnusableItemError):
    """A file has no frames that can be decoded within the bounds."""


class LongTextError(UnusableItemError):
    """A text has more characters than a tokenizer gets."""


class UnknownNameError(ReelstoreError, KeyError):
    """No dataset, encoder, pooling, policy or aligner has this name."""

    def __init__(self, kind: str, name: str, known: Iterable[object]) -> None:
        names = sorted(map(str, known))
        near = get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtraError(ReelstoreError, ImportError):
    """An optional package is needed and isn't installed."""


class PlatformError(ReelstoreError, ImportError):
    """This operating system lacks what a store needs."""

    def __init__(self) -> None:
        super().__init__("reelstore needs Linux or macOS (fcntl, POSIX signals). On Windows, install it within WSL 2.")


class PluginError(ReelstoreError, ImportError):
    """An installed package brings a dataset, encoder or aligner that can't be imported."""


class WeightsError(ReelstoreError, ValueError):
    """A weights file is missing, or its keys or shapes aren't the model's."""


class IrregularFileError(ReelstoreError, OSError):
    """A folder, pipe, device or socket where a regular file is expected."""


class DamagedFileError(ReelstoreError, ValueError):
    """A file's content isn't what a file of its kind holds."""


class OccupiedError(ReelstoreError, OSError):
    """Something that reelstore didn't write is where an output should go."""


class StoreError(ReelstoreError):
    """A store can't be read or written as asked."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """Nothing is stored at this path."""


class UnknownVariantError(StoreNotFoundError, KeyError):
    """A store has no variant of this name."""

    def __str__(self) -> str:
        return str(self.args[0])


class NotBuiltError(StoreError, NotImplementedError):
    """A store is asked for in a way that is planned and isn't there yet."""


class SchemaError(StoreError, ValueError):
    """A folder isn't a store of a schema version this code reads."""


class NewerSchemaError(SchemaError):
    """A store was written by a later reelstore."""


class MissingRowError(StoreError, KeyError):
    """A key isn't in the store."""

    def __str__(self) -> str:
        return str(self.args[0])


class RowPositionError(StoreError, IndexError):
    """Positions were asked for that aren't whole numbers, or that a view doesn't have."""


class FailedRowError(StoreError, ValueError):
    """A row was asked for whose item could not be embedded."""


class ValueRangeError(StoreError, ValueError):
    """An embedding holds NaN, infinity, or a value its dtype can't hold."""


class ForeignFileError(ReelstoreError, ValueError):
    """A file of embeddings or a table of keys can't be taken in as it is."""


class ExportError(ReelstoreError, ValueError):
    """Rows can't be written out as asked."""


class PlanError(ReelstoreError, ValueError):
    """A plan isn't there, isn't done, or isn't that of the dataset and encoder at hand."""


class WorkerError(ReelstoreError, RuntimeError):
    """A process of several ended before its work."""


class BatchMemoryError(ReelstoreError, MemoryError):
    """Memory doesn't suffice for a batch of this shape."""


class TooManyFailuresError(ReelstoreError, RuntimeError):
    """More items failed than `max_failures` allows."""


class NonFiniteError(ReelstoreError, ValueError):
    """NaN or infinity where a comparison would make it look like a result."""


class AlignerError(ReelstoreError, ValueError):
    """An aligner can't be fitted, loaded, or applied to these embeddings."""


class MissingTensorError(AlignerError, KeyError):
    """An aligner's file lacks a tensor that its settings need."""

    def __str__(self) -> str:
        return str(self.args[0])


class SearchError(ReelstoreError, ValueError):
    """A sentence can't be looked for in this store as asked."""


class EmbeddingsError(ReelstoreError, ValueError):
    """Arrays given as embeddings or tokens can't be these."""


class EvaluationError(ReelstoreError, ValueError):
    """Two sets of embeddings can't be measured against each other as asked."""
