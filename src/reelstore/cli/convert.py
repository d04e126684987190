"""`reelstore import` and `reelstore export`: embeddings in others' files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from reelstore.cli.progress import Bar, echo
from reelstore.errors import ForeignFileError

if TYPE_CHECKING:
    from reelstore.convert.containers import Container
    from reelstore.convert.items import Items
    from reelstore.convert.keys import KeyTable
    from reelstore.convert.match_keys import KeyRule
    from reelstore.convert.names import Affixes
    from reelstore.records import Side

_PATH = click.Path(path_type=Path)
Command = Callable[..., None]


@click.group("import")
def import_() -> None:
    """Bring embeddings that others made into a store: npy, npz, HDF5, Parquet, Arrow, safetensors, torch.

    TARGET is <store>/<dataset>/<side>/<encoder>[/<variant>], side video or text; without a variant it is `embedding`
    where items are pooled, `tokens` elsewhere. Numbers and keys come in as they are; the report says how many items
    there are, and which is first and last. Again, it writes only what has changed.

    Example:

    \b
        reelstore import npy npy/videos store/msrvtt/video/video-llama-7b/mean
        reelstore import array t.npy store/mine/text/mine --keys captions.csv --dry-run
    """


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return click.argument("source", type=_PATH)(click.argument("target", type=_PATH)(command))

    return add


_target_options = [
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
]
_name_options = [
    click.option("--name-column", help="Column of --keys with the name that each row's item has in the source."),
    click.option(
        "--captions",
        type=click.Choice(["numbered", "one", "rows"]),
        help="An item of the text side: a caption <video_id>-<number>; or, named by the video's id, its only caption, "
        "or all its captions, a row each.",
    ),
    click.option("--first", type=int, default=1, help="Number of a video's first caption in names: 1, or 0."),
    click.option("--allow-missing", is_flag=True, help="Rows of --keys without an item: rows without value."),
]


@import_.command("npy")
@_options(*_name_options, *_target_options)
def import_npy(source: Path, target: Path, **options: Any) -> None:
    """A folder of .npy files, one an item: `video7890.npy`; captions `video7890-1.npy`, `-2`, … numbered from 1.

    Rows are in the order of --keys, else in natural order of ids. Folders of different shapes or poolings are refused.

    Example:

    \b
        reelstore import npy npy/videos store/msrvtt/video/video-llama-7b/mean
        reelstore import npy npy/captions store/msrvtt/text/video-llama-7b --keys captions.csv
    """

    def items(side: "Side", keys: "KeyTable | None") -> "Items":
        from reelstore.convert.named import container_items
        from reelstore.convert.npy import NpyFolder, refuse_parts

        with Bar("read headers", unit="file") as bar:
            found = container_items(NpyFolder(source, bar), _rule(side, keys, options), items=True)
        if options["layout"] is None:
            refuse_parts(source, found)
        return found

    _import(items, source, target, options)


@import_.command("array")
@click.option("--offsets", type=_PATH, help="Of ragged tokens: .npy (n + 1,); item i is its rows offsets[i] to [i+1].")
@_options(*_target_options)
def import_array(source: Path, target: Path, offsets: Path | None, **options: Any) -> None:
    """One .npy array, (n, dim) or (n, n_tokens, dim), whose row i is row i of --keys.

    Of videos: row i is the i-th video that the table names, or the row that its column video_row says. A folder has
    parts of the array, `img_emb_0.npy`, `img_emb_1.npy`, …, in the order of their numbers; --keys may be such a folder.

    Example:

    \b
        reelstore import array t.npy store/mine/text/mine --keys captions.csv
        reelstore import array img_emb store/mine/video/clip --keys metadata --id-column image_path --suffix .jpg
    """

    def items(side: "Side", keys: "KeyTable | None") -> "Items":
        from reelstore.convert.matrix import array_items

        if keys is None:
            raise click.UsageError("An array needs --keys, a table that says which video or caption each row is.")
        affixes = _affixes(options)
        if affixes and not keys.stripped:
            raise ForeignFileError(f"{keys.path}: no id has {affixes}.")
        return array_items(source, keys, side, offsets=offsets)

    _import(items, source, target, options, *([] if offsets is None else [offsets]), kinds=("npy",))


def _container(kind: str, file: Path) -> "Container":
    from reelstore.convert import containers, hdf5

    if kind == "torch":
        from reelstore.encoders.checkpoint import read_pth

        return containers.TensorDict(file, read_pth(file))
    readers: dict[str, Callable[[Path], Container]] = {
        "hdf5": hdf5.Hdf5File,
        "npz": containers.NpzFile,
        "safetensors": containers.TensorsFile,
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
    @click.option(
        "--dataset",
        "--tensor",
        "--array",
        "member",
        help="With --keys: the matrix whose row i is row i of the table. Or, of <id>/NAME: the NAME that items have.",
    )
    @_options(*_name_options, *_target_options)
    def command(source: Path, target: Path, member: str | None, **options: Any) -> None:
        def items(side: "Side", keys: "KeyTable | None") -> "Items":
            from reelstore.convert.named import container_items

            return container_items(_container(kind, source), _rule(side, keys, options), member=member)

        _import(items, source, target, options, kinds=(kind,))


_import_named("hdf5", "An HDF5 file of datasets", "c3d.hdf5 store/anet/video/c3d --dataset c3d_features")
_import_named("npz", "An .npz file of arrays", "videos.npz store/mine/video/clip-vit-b32")
_import_named("safetensors", "A safetensors file of tensors", "v.safetensors store/mine/video/clip --keys videos.csv")
_import_named("torch", "A file that torch.save wrote of a dict of tensors", "videos.pt store/mine/video/clip-vit-b32")


@import_.command("parquet")
@click.option("--vector", help="Column of vectors; not needed where it is the only one of lists.")
@_options(*_target_options)
def import_parquet(source: Path, target: Path, vector: str | None, **options: Any) -> None:
    """A Parquet or Arrow file: a column of vectors (or of tokens, lists of them) beside video_id and, for captions,
    caption_index.

    SOURCE may be a folder of shards, or what Hugging Face's datasets saved to disk; splits are its folders' names.

    Example:

    \b
        reelstore import parquet videos.parquet store/mine/video/clip-vit-b32 --vector embedding
        reelstore import parquet saved store/mine/text/minilm --id-column vid --vector emb
    """

    def items(side: "Side", keys: "KeyTable | None") -> "Items":
        from reelstore.convert.vectors import vector_items

        id_column = options["id_column"] or "video_id"
        return vector_items(
            source, side, split=options["split"], vector=vector, id_column=id_column, affixes=_affixes(options)
        )

    if options["keys"] is not None:
        raise click.UsageError("A Parquet file has its keys in columns of its own; --keys isn't for it.")
    _import(items, source, target, options, kinds=("parquet", "arrow"))


def _import(
    read: "Callable[[Side, KeyTable | None], Items]",
    source: Path,
    target: Path,
    options: dict[str, Any],
    *inputs: Path,
    kinds: tuple[str, ...] = (),
) -> None:
    from reelstore.convert.imports import Import, Target
    from reelstore.convert.keys import KeyTable, Reading, refuse_split
    from reelstore.convert.kinds import refuse_other

    if options["split"] is not None:
        refuse_split(options["split"])
    where = Target.parse(target)
    refuse_other(source, *kinds)
    table, id_column, name_column = options["keys"], options["id_column"], options.get("name_column")
    for option, value in (("--name-column", name_column), ("--id-column", id_column)):
        if table is None and value is not None and "parquet" not in kinds:
            raise click.UsageError(f"{option} is a column of --keys; there is no table.")
    reading = Reading(options["split"], id_column or "video_id", name_column, _affixes(options))
    found = Import.of(
        read(where.side, None if table is None else KeyTable.read(table, reading)),
        where,
        layout=options["layout"],
        dtype=options["dtype"],
        inputs=[source, *inputs, *([] if table is None else [table])],
    )
    if options["dry_run"]:
        echo(found.plan())
        return
    with Bar("import") as bar:
        done = found.run(revision=options["revision"], progress=bar)
    echo(found.report(done))


def _rule(side: "Side", keys: "KeyTable | None", options: dict[str, Any]) -> "KeyRule":
    from reelstore.convert.match_keys import KeyRule

    captions, first = options["captions"], options["first"]
    if first not in (0, 1):
        raise ForeignFileError(f"--first is {first}; captions are numbered from 1, or from 0.")
    if options["allow_missing"] and keys is None:
        raise click.UsageError("--allow-missing is about rows of --keys; there is no table.")
    if captions is not None and side == "video":
        raise click.UsageError("--captions is about the text side; this target is of videos.")
    if first == 0 and (captions in ("one", "rows") or options["name_column"] is not None):
        raise click.UsageError("--first is about numbers in names of captions; here names have none.")
    if captions is not None and options["name_column"] is not None:
        raise click.UsageError("--name-column says which caption an item is; --captions isn't needed with it.")
    return KeyRule(side, keys, options["split"], first, options["allow_missing"], captions, _affixes(options))


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
        done = run_export(cast(Any, kind), variant, path, split=split, normalize=normalize, force=force, progress=bar)
    echo(done)
