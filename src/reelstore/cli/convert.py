"""`reelstore import` and `reelstore export`: embeddings in others' files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from reelstore.cli.progress import Bar, echo
from reelstore.errors import ForeignFileError

if TYPE_CHECKING:
    from reelstore.convert import Source
    from reelstore.convert.imports import Target
    from reelstore.convert.keys import KeyTable
    from reelstore.convert.match_keys import Naming
    from reelstore.convert.named import Container
    from reelstore.convert.names import Affixes

_PATH = click.Path(path_type=Path)
Command = Callable[..., None]


@click.group("import")
def import_() -> None:
    """Bring embeddings that others made into a store: npy, npz, HDF5, Parquet, Arrow, safetensors, torch.

    TARGET is <store>/<dataset>/<side>/<encoder>[/<variant>], side video or text; without a variant it is `embedding`
    where items are pooled, `tokens` elsewhere. Numbers and keys come in as they are; the report says how many items
    there are, and which is first and last. A killed import goes on where it was; one of files that haven't changed
    writes nothing.

    Example:

    \b
        reelstore import npy npy/videos store/msrvtt/video/video-llama-7b/mean
        reelstore import array t.npy store/mine/text/mine --keys captions.csv --dry-run
    """


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_target_options = _options(
    click.option(
        "--keys", type=_PATH, help="Table with video_id, and if there: caption_index, split, failure; or its parts."
    ),
    click.option("--id-column", help="Column of the table that is video_id."),
    click.option("--prefix", default="", help="Taken off names of items, or ids of the table, that begin so."),
    click.option("--suffix", default="", help="Taken off those that end so: .mp4."),
    click.option("--split", help="Split of all rows, whatever the table says; `all` where nothing says."),
    click.option(
        "--layout", type=click.Choice(["pooled", "dense", "ragged"]), help="Of items, where shapes leave it open."
    ),
    click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Round to it; as it is otherwise."),
    click.option("--revision", default="", help="What else determined the numbers: a checkpoint, a commit."),
    click.option("--dry-run", is_flag=True, help="Say what would be imported, and write nothing."),
)
_naming_options = _options(
    click.option("--name-column", help="Column of --keys with the name that each row's item has in the source."),
    click.option(
        "--captions",
        type=click.Choice(["numbered", "one", "rows"]),
        help="An item of the text side: a caption <video_id>-<number>; or, named by the video's id, its only caption, "
        "or all its captions, a row each.",
    ),
    click.option("--first", type=int, default=1, help="Number of a video's first caption in names: 1, or 0."),
    click.option("--allow-missing", is_flag=True, help="Rows of --keys without an item: rows without value."),
)
_member_option = click.option(
    "--dataset",
    "--tensor",
    "--array",
    "member",
    help="With --keys: the matrix whose row i is row i of the table. Or, of <id>/NAME: the NAME that items have.",
)


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
        from reelstore.convert.named import source_of
        from reelstore.convert.npy_folder import NpyFolder, refuse_parts

        with Bar("look at files", unit="file") as bar:
            found = source_of(NpyFolder(folder, bar), _naming(where, keys, options), items=True)
            listing = found.listing
        if options["layout"] is None:
            refuse_parts(folder, listing)
        return found

    _import(source, target, options, folder)


@import_.command("array")
@click.argument("array", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--offsets", type=_PATH, help="Of ragged tokens: .npy (n + 1,); item i is its rows offsets[i] to [i+1].")
@_target_options
def import_array(array: Path, target: Path, offsets: Path | None, **options: Any) -> None:
    """One .npy ARRAY, (n, dim) or (n, n_tokens, dim), whose row i is row i of --keys.

    Of videos: row i is the i-th video that the table names, or the row that its column video_row says. A folder has
    parts of the array, `img_emb_0.npy`, `img_emb_1.npy`, …, in the order of their numbers; --keys may be such a folder.

    Example:

    \b
        reelstore import array t.npy store/mine/text/mine --keys captions.csv
        reelstore import array img_emb store/mine/video/clip --keys metadata --id-column image_path --suffix .jpg
    """

    def source(where: "Target", keys: "KeyTable | None") -> "Source":
        from reelstore.convert.rows_file import array_file

        if keys is None:
            raise click.UsageError("An array needs --keys, a table that says which video or caption each row is.")
        affixes = _affixes(options)
        if affixes and not keys.stripped:
            raise ForeignFileError(f"{keys.path}: no id has {affixes}.")
        return array_file(array, keys, where.side, offsets=offsets)

    _import(source, target, options, array, *([] if offsets is None else [offsets]), kinds=("npy",))


def _container(kind: str, file: Path) -> "Container":
    from reelstore.convert import hdf5, npz, tensors

    if kind == "torch":
        from reelstore.encoders.checkpoint import read_pth

        return tensors.TensorDict(file, read_pth(file))
    readers: dict[str, Callable[[Path], Container]] = {
        "hdf5": hdf5.Hdf5File,
        "npz": npz.NpzFile,
        "safetensors": tensors.TensorsFile,
    }
    return readers[kind](file)


def _import_named(kind: str, about: str, example: str) -> None:
    """Add the command for one kind of file that has arrays under names."""

    @import_.command(
        kind,
        help=f"""{about}, one an item, named as npy files are: `video7890`; captions `video7890-1` or `video7890/1`.

        Or `video7890/NAME` of one and the same NAME; or one matrix, with --keys.

        Example:

        \b
            reelstore import {kind} {example}
        """,
    )
    @click.argument("file", type=_PATH)
    @click.argument("target", type=_PATH)
    @_member_option
    @_naming_options
    @_target_options
    def command(file: Path, target: Path, **options: Any) -> None:
        def source(where: "Target", keys: "KeyTable | None") -> "Source":
            from reelstore.convert.named import source_of

            return source_of(_container(kind, file), _naming(where, keys, options), member=options["member"])

        _import(source, target, options, file, kinds=(kind,))


_import_named("hdf5", "An HDF5 FILE of datasets", "c3d.hdf5 store/anet/video/c3d --dataset c3d_features")
_import_named("npz", "An .npz FILE of arrays", "videos.npz store/mine/video/clip-vit-b32")
_import_named("safetensors", "A safetensors FILE of tensors", "v.safetensors store/mine/video/clip --keys videos.csv")
_import_named("torch", "A FILE that torch.save wrote of a dict of tensors", "videos.pt store/mine/video/clip-vit-b32")


@import_.command("parquet")
@click.argument("file", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--vector", help="Column of vectors; not needed where it is the only one of lists.")
@_target_options
def import_parquet(file: Path, target: Path, vector: str | None, **options: Any) -> None:
    """A Parquet or Arrow FILE: a column of vectors (or of tokens, lists of them) beside video_id and, for captions,
    caption_index.

    FILE may be a folder of shards, or what Hugging Face's datasets saved to disk; splits are its folders' names.

    Example:

    \b
        reelstore import parquet videos.parquet store/mine/video/clip-vit-b32 --vector embedding
        reelstore import parquet saved store/mine/text/minilm --id-column vid --vector emb
    """

    def source(where: "Target", keys: "KeyTable | None") -> "Source":
        from reelstore.convert.parquet import VectorTable

        id_column = options["id_column"] or "video_id"
        return VectorTable(file, where.side, options["split"], vector, id_column, _affixes(options))

    if options["keys"] is not None:
        raise click.UsageError("A Parquet file has its keys in columns of its own; --keys isn't for it.")
    _import(source, target, options, file, kinds=("parquet", "arrow"))


def _import(
    source: "Callable[[Target, KeyTable | None], Source]",
    target: Path,
    options: dict[str, Any],
    *inputs: Path,
    kinds: tuple[str, ...] = (),
) -> None:
    from reelstore.convert.imports import Target, plan_import, run_import
    from reelstore.convert.keys import KeyTable, Reading, refuse_split
    from reelstore.convert.kinds import refuse_other

    if options["split"] is not None:
        refuse_split(options["split"])
    where = Target.parse(target)
    refuse_other(inputs[0], *kinds)
    table = options["keys"]
    if table is None and options.get("name_column") is not None:
        raise click.UsageError("--name-column is a column of --keys; there is no table.")
    if table is None and options["id_column"] is not None and "parquet" not in kinds:
        raise click.UsageError("--id-column is a column of --keys; there is no table.")
    reading = Reading(
        options["split"], options["id_column"] or "video_id", options.get("name_column"), _affixes(options)
    )
    keys = None if table is None else KeyTable.read(table, reading)
    found = source(where, keys)
    settings: dict[str, Any] = {
        "layout": options["layout"],
        "dtype": options["dtype"],
        "inputs": [*inputs, *([] if table is None else [table])],
    }
    if options["dry_run"]:
        echo(plan_import(found, where, **settings).summary())
        return
    with Bar("import") as bar:
        report = run_import(found, where, revision=options["revision"], progress=bar, **settings)
    echo(report.summary())


def _naming(where: "Target", keys: "KeyTable | None", options: dict[str, Any]) -> "Naming":
    from reelstore.convert.match_keys import Naming

    if options["first"] not in (0, 1):
        raise ForeignFileError(f"--first is {options['first']}; captions are numbered from 1, or from 0.")
    if options["allow_missing"] and keys is None:
        raise click.UsageError("--allow-missing is about rows of --keys; there is no table.")
    if options["captions"] is not None and where.side == "video":
        raise click.UsageError("--captions is about the text side; this target is of videos.")
    if options["first"] == 0 and (options["captions"] in ("one", "rows") or options["name_column"] is not None):
        raise click.UsageError("--first is about numbers in names of captions; here names have none.")
    if options["captions"] is not None and options["name_column"] is not None:
        raise click.UsageError("--name-column says which caption an item is; --captions isn't needed with it.")
    return Naming(
        where.side,
        keys,
        options["split"],
        options["first"],
        options["allow_missing"],
        options["captions"],
        _affixes(options),
    )


def _affixes(options: dict[str, Any]) -> "Affixes":
    from reelstore.convert.names import Affixes

    return Affixes(options["prefix"], options["suffix"])


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
    from reelstore.convert.exports import run_export

    if normalize and kind != "faiss":
        raise click.UsageError("--normalize is for faiss; other formats hold what is stored.")
    with Bar("export") as bar:
        report = run_export(cast(Any, kind), variant, path, split=split, normalize=normalize, force=force, progress=bar)
    echo(report.summary())
