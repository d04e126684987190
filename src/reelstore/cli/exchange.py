"""`reelstore import` and `reelstore export`: embeddings in others' files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from reelstore.cli.progress import Bar, echo
from reelstore.errors import ForeignFileError

if TYPE_CHECKING:
    from reelstore.exchange import Source
    from reelstore.exchange.arrange import Naming
    from reelstore.exchange.keys import KeyTable
    from reelstore.pipeline.stores.imports import Target

_PATH = click.Path(path_type=Path)


@click.group("import")
def import_() -> None:
    """Bring embeddings that others made into a store: a folder of npy files, one array, HDF5, Parquet, safetensors.

    TARGET is <store>/<dataset>/<side>/<encoder>[/<variant>], side video or text; without a variant it is `embedding`
    where items are pooled, `tokens` elsewhere. Numbers and keys come in as they are. A killed import goes on where it
    was; one of files that haven't changed writes nothing.

    Example:

    \b
        reelstore import npy npy/videos store/msrvtt/video/video-llama-7b/mean
        reelstore import array t.npy store/mine/text/mine --keys captions.csv
    """


def _target_options(command: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.option("--keys", type=_PATH, help="Table with video_id, and if there: caption_index, split, failure."),
        click.option("--split", help="Split of all rows, whatever the table says; `all` where nothing says."),
        click.option(
            "--layout", type=click.Choice(["pooled", "dense", "ragged"]), help="Of items, where shapes leave it open."
        ),
        click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Round to it; as it is otherwise."),
        click.option("--revision", default="", help="What else determined the numbers: a checkpoint, a commit."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _naming_options(command: Callable[..., None]) -> Callable[..., None]:
    first = click.option("--first", type=int, default=1, help="Number of a video's first caption in names: 1, or 0.")
    missing = click.option("--allow-missing", is_flag=True, help="Rows of --keys without an item: rows without value.")
    return first(missing(command))


@import_.command("npy")
@click.argument("folder", type=_PATH)
@click.argument("target", type=_PATH)
@_naming_options
@_target_options
def import_npy(folder: Path, target: Path, **options: Any) -> None:
    """A FOLDER of .npy files, one an item: `video7890.npy`; captions `video7890-1.npy`, `-2`, … numbered from 1.

    Rows are in the order of --keys, else in natural order of ids. Folders of different shapes or poolings are refused.

    Example:

    \b
        reelstore import npy npy/videos store/msrvtt/video/video-llama-7b/mean
        reelstore import npy npy/captions store/msrvtt/text/video-llama-7b --keys captions.csv
    """

    def source(where: "Target", keys: "KeyTable | None") -> "Source":
        from reelstore.exchange.npy_folder import NpyFolder

        with Bar("look at files", unit="file") as bar:
            found = NpyFolder(folder, _naming(where, keys, options), bar)
            len(found.listing)
        return found

    _import(source, target, options, folder)


@import_.command("array")
@click.argument("array", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--offsets", type=_PATH, help="Of ragged tokens: .npy (n + 1,); item i is its rows offsets[i] to [i+1].")
@_target_options
def import_array(array: Path, target: Path, offsets: Path | None, **options: Any) -> None:
    """One .npy ARRAY, (n, dim) or (n, n_tokens, dim), whose row i is row i of --keys.

    Of videos: row i is the i-th video that the table names, or the row that its column video_row says.

    Example:

    \b
        reelstore import array t.npy store/mine/text/mine --keys captions.csv
    """

    def source(where: "Target", keys: "KeyTable | None") -> "Source":
        from reelstore.exchange.rows_file import array_file

        if keys is None:
            raise click.UsageError("An array needs --keys, a table that says which video or caption each row is.")
        return array_file(array, keys, where.side, offsets=offsets)

    _import(source, target, options, array, *([] if offsets is None else [offsets]))


@import_.command("hdf5")
@click.argument("file", type=_PATH)
@click.argument("target", type=_PATH)
@_naming_options
@_target_options
def import_hdf5(file: Path, target: Path, **options: Any) -> None:
    """An HDF5 FILE with a dataset an item: `video7890`; captions `video7890-1` or `video7890/1`.

    Example:

    \b
        reelstore import hdf5 clip.h5 store/mine/video/clip-vit-b32
    """

    def source(where: "Target", keys: "KeyTable | None") -> "Source":
        from reelstore.exchange.hdf5 import Hdf5File

        return Hdf5File(file, _naming(where, keys, options))

    _import(source, target, options, file)


@import_.command("parquet")
@click.argument("file", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--vector", help="Column of vectors; not needed where it is the only one of lists.")
@click.option("--id-column", default="video_id", help="Column that is video_id.")
@_target_options
def import_parquet(file: Path, target: Path, vector: str | None, id_column: str, **options: Any) -> None:
    """A Parquet or Arrow FILE: a column of vectors (or of tokens, lists of them) beside video_id and, for captions,
    caption_index.

    Example:

    \b
        reelstore import parquet videos.parquet store/mine/video/clip-vit-b32 --vector embedding
    """

    def source(where: "Target", keys: "KeyTable | None") -> "Source":
        from reelstore.exchange.parquet import VectorTable

        if keys is not None:
            raise click.UsageError("A Parquet file has its keys in columns of its own; --keys isn't for it.")
        return VectorTable(file, where.side, options["split"], vector, id_column)

    _import(source, target, options, file)


@import_.command("safetensors")
@click.argument("file", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--tensor", help="With --keys: the matrix whose row i is row i of the table.")
@_naming_options
@_target_options
def import_safetensors(file: Path, target: Path, tensor: str | None, **options: Any) -> None:
    """A safetensors FILE: a tensor an item, named as npy files are; or one matrix, with --keys.

    Example:

    \b
        reelstore import safetensors videos.safetensors store/mine/video/clip-vit-b32 --keys videos.csv
    """

    def source(where: "Target", keys: "KeyTable | None") -> "Source":
        from reelstore.exchange.tensors import tensors_file

        return tensors_file(file, _naming(where, keys, options), tensor=tensor)

    _import(source, target, options, file)


def _import(
    source: "Callable[[Target, KeyTable | None], Source]", target: Path, options: dict[str, Any], *inputs: Path
) -> None:
    from reelstore.exchange.keys import KeyTable, refuse_split
    from reelstore.pipeline.stores.imports import Target, run_import

    if options["split"] is not None:
        refuse_split(options["split"])
    where = Target.parse(target)
    keys = None if options["keys"] is None else KeyTable.read(options["keys"], split=options["split"])
    found = source(where, keys)
    with Bar("import") as bar:
        report = run_import(
            found,
            where,
            layout=options["layout"],
            dtype=options["dtype"],
            revision=options["revision"],
            inputs=[*inputs, *([] if options["keys"] is None else [options["keys"]])],
            progress=bar,
        )
    echo(report.summary())


def _naming(where: "Target", keys: "KeyTable | None", options: dict[str, Any]) -> "Naming":
    from reelstore.exchange.arrange import Naming

    if options["first"] not in (0, 1):
        raise ForeignFileError(f"--first is {options['first']}; captions are numbered from 1, or from 0.")
    if options["allow_missing"] and keys is None:
        raise click.UsageError("--allow-missing is about rows of --keys; there is no table.")
    return Naming(where.side, keys, options["split"], options["first"], options["allow_missing"])


@click.command()
@click.argument("kind", metavar="FORMAT", type=click.Choice(["npy", "array", "parquet", "safetensors", "faiss"]))
@click.argument("variant", type=_PATH)
@click.argument("path", type=_PATH)
@click.option("--split", help="Rows of this split only.")
@click.option("--normalize", is_flag=True, help="For faiss: each vector to length 1.")
@click.option("--force", is_flag=True, help="Replace what an export wrote at PATH and nobody changed since.")
def export(kind: str, variant: Path, path: Path, split: str | None, normalize: bool, force: bool) -> None:
    """Write the rows of VARIANT to PATH, values and keys as they are.

    FORMAT parquet makes one file; the others a folder with a table keys.csv: npy with a file an item, array and
    safetensors with one array as stored, faiss with one float32 array, C order, of the rows that have values. PATH
    appears when all is written; export.json in a folder lists its files, so that --force replaces no others.

    Example:

    \b
        reelstore export parquet store/emoji/video/efficientnet-lite0/mean videos.parquet
        reelstore export faiss store/emoji/text/minilm-l6/mean index --split test --normalize
    """
    from reelstore.pipeline.stores.exports import run_export

    if normalize and kind != "faiss":
        raise click.UsageError("--normalize is for faiss; other formats hold what is stored.")
    with Bar("export") as bar:
        report = run_export(cast(Any, kind), variant, path, split=split, normalize=normalize, force=force, progress=bar)
    echo(report.summary())
