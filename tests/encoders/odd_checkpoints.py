"""Odd checkpoints: each is a tiny valid one, spoilt in one way."""

import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from checkpoints import clip, language_model, made, metaclip2, siglip2, videoprism, xclip
from safetensors.torch import load_file, save_file

TINY_LLAMA = Path(__file__).parent / "tiny_video_llama"
HUGE = 10**9

Spoil = Callable[[Path], object]


class Odd(NamedTuple):
    """One odd checkpoint: how it's spoilt, and what the message must hold."""

    name: str
    spoil: Spoil
    says: str


def write(name: str, content: bytes | str | Any) -> Spoil:
    """Another content of a file; what isn't text or bytes is written as JSON."""
    if not isinstance(content, bytes | str):
        content = json.dumps(content)
    encoded = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(encoded)


def without(*names: str) -> Spoil:
    return lambda folder: [(folder / name).unlink() for name in names]


def cut(name: str, kept: float = 0.5) -> Spoil:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * kept)])

    return spoil


def recoded(name: str, encode: Callable[[str], bytes]) -> Spoil:
    """The same text in another encoding."""
    return lambda folder: (folder / name).write_bytes(encode((folder / name).read_text(encoding="utf-8")))


def longer(name: str, more: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + more)


def instead(name: str, kind: str) -> Spoil:
    """A pipe, a folder, a link to a device or to nothing, where a file should be."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(kind)

    return spoil


def setting(name: str, **values: Any) -> Spoil:
    """Settings of a JSON file changed; `a__b` is b in a; `...` takes it out."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        for key, value in values.items():
            *parents, last = key.split("__") if not key.startswith("_") else [key]
            inner = content
            for parent in parents:
                inner = inner[parent]
            if value is ...:
                inner.pop(last)
            else:
                inner[last] = value
        (folder / name).write_text(json.dumps(content))

    return spoil


def config(**values: Any) -> Spoil:
    return setting("config.json", **values)


def pixels(**values: Any) -> Spoil:
    return setting("preprocessor_config.json", **values)


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    """Tensors of model.safetensors changed in place."""

    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        state = {key: value.clone() for key, value in state.items()}
        change(state)
        save_file({key: value.contiguous() for key, value in state.items()}, folder / "model.safetensors")

    return spoil


def each(change: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    return tensors(lambda state: state.update({key: change(value) for key, value in state.items()}))


def one(key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    return tensors(lambda state: state.update({key: change(state[key])}))


def header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """The header of model.safetensors changed, its tensors as they are."""

    def spoil(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        n = int.from_bytes(content[:8], "little")
        values = json.loads(content[8 : 8 + n])
        change(values)
        text = json.dumps(values).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n :])

    return spoil


def pickled(content: Callable[[Path, dict[str, torch.Tensor]], object], **options: Any) -> Spoil:
    """pytorch_model.bin in place of model.safetensors."""

    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(content(folder, state), folder / "pytorch_model.bin", **options)

    return spoil


def raw_bin(content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return spoil


def rezipped(change: Callable[[str, bytes], bytes], *, compress: bool = False) -> Spoil:
    """The archive of pytorch_model.bin written again, its members changed or compressed."""

    def spoil(folder: Path) -> None:
        pickled(lambda _, state: state)(folder)
        path = folder / "pytorch_model.bin"
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name, content in members.items():
                archive.writestr(name, change(name, content))

    return spoil


def index(change: Callable[[Path, dict[str, str]], object]) -> Spoil:
    """Weights split in two with an index; `change` gives what is written as the index, None leaves what it changed."""

    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        keys = sorted(state)
        parts = {"model-00001-of-00002.safetensors": keys[::2], "model-00002-of-00002.safetensors": keys[1::2]}
        for name, own in parts.items():
            save_file({key: state[key] for key in own}, folder / name)
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        where = {key: name for name, own in parts.items() for key in own}
        made = change(folder, where)
        content = {"metadata": {}, "weight_map": where} if made is None else made
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return spoil


def both(*spoils: Spoil) -> Spoil:
    return lambda folder: [spoil(folder) for spoil in spoils]


class Runs:
    """A pickle that would write a file."""

    def __reduce__(self) -> Any:
        return Path.touch, (RAN,)


RAN = Path(tempfile.gettempdir(), "reelstore-odd-checkpoint-ran")


def assigned(state: dict[str, torch.Tensor], **values: Any) -> dict[str, Any]:
    return {**state, **values}


def moved(where: dict[str, str], name: str) -> None:
    where[next(iter(where))] = name


ANY_JSON = [
    ("missing", lambda name: without(name)),
    ("empty", lambda name: write(name, "")),
    ("cut", lambda name: cut(name)),
    ("not UTF-8", lambda name: write(name, b'{"model_type": "\xff\xfe"}')),
    ("in UTF-16", lambda name: recoded(name, lambda text: text.encode("utf-16"))),
    ("in UTF-32", lambda name: recoded(name, lambda text: text.encode("utf-32"))),
    (
        "in Latin-1",
        lambda name: recoded(name, lambda text: text.replace("{", '{"café": 1, ', 1).encode("latin-1", "replace")),
    ),
    ("a list", lambda name: write(name, [1])),
    ("a text", lambda name: write(name, '"clip"')),
    ("null", lambda name: write(name, "null")),
    ("deep", lambda name: write(name, '{"a":' + "[" * 100_000 + "]" * 100_000 + "}")),
    ("of 300 MB, all holes", lambda name: lambda folder: os.truncate(folder / name, 300 * 2**20)),
    ("a pipe", lambda name: instead(name, "pipe")),
    ("a folder", lambda name: instead(name, "folder")),
    ("a link to nothing", lambda name: instead(name, "/nowhere/at/all")),
    ("endless", lambda name: instead(name, "/dev/zero")),
]


def of_json(name: str, *, but: tuple[str, ...] = (), says: str | None = None) -> list[Odd]:
    return [Odd(f"{name} {kind}", spoil(name), says or name) for kind, spoil in ANY_JSON if kind not in but]


CONFIG = [
    *of_json("config.json"),
    *(
        Odd(f"{name} with a mark", recoded(name, lambda text: text.encode("utf-8-sig")), f"{name} begins with")
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json")
    ),
    Odd("config NaN", write("config.json", '{"model_type": "clip", "logit_scale_init_value": NaN}'), "config.json"),
    Odd(
        "config 5,000 digits",
        write("config.json", '{"model_type": "clip", "projection_dim": 1' + "0" * 5000 + "}"),
        "config.json",
    ),
    Odd("config of 20 MB", write("config.json", '{"a": [' + "[]," * 7 * 10**6 + "[]]}"), "config.json"),
    Odd("config without type", config(model_type=...), "model_type"),
    *(
        Odd(f"model_type {value!r}", config(model_type=value), "type")
        for value in (None, 3, [], {}, "", "their-own", "bert", "../clip")
    ),
    Odd(
        "config with code of its own",
        both(
            config(auto_map={"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}),
            write("modeling.py", f"open({str(RAN)!r}, 'w')"),
        ),
        "auto_map",
    ),
    Odd("code elsewhere", config(auto_map={"AutoModel": "someone/else--modeling.Model"}), "auto_map"),
    Odd("weights under another name", config(transformers_weights="../outside.safetensors"), "transformers_weights"),
    Odd("attention from the hub", config(_attn_implementation="someone/kernel"), "attn_implementation"),
    Odd(
        "attention of text from the hub",
        config(text_config__attn_implementation="someone/kernel@v1:name"),
        "attn_implementation",
    ),
    Odd("quantised", config(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}), "quant"),
    Odd("quantised oddly", config(quantization_config=3), "quant"),
    Odd("text quantised", config(text_config__quantization_config={"quant_method": "gptq", "bits": 4}), "quant"),
    *(
        Odd(f"dtype {value!r}", config(dtype=value), "dtype")
        for value in ("banana", "int8", "float8_e4m3fn", 3, ["float32"], "load")
    ),
    Odd("torch_dtype complex64", config(torch_dtype="complex64"), "dtype"),
    *(Odd(f"text_config {value!r}", config(text_config=value), "text_config") for value in ("x", [], 3)),
    Odd("vision_config a list", config(vision_config=[1, 2]), "vision_config"),
    *(
        Odd(f"{key.replace('__', '.')} {value!r}", config(**{key: value}), key.rpartition("__")[2])
        for key in (
            "text_config__hidden_size",
            "text_config__num_hidden_layers",
            "vision_config__image_size",
            "text_config__vocab_size",
            "vision_config__patch_size",
            "text_config__max_position_embeddings",
            "projection_dim",
            "vision_config__num_attention_heads",
        )
        for value in (HUGE, 0, -1, 2.5, "32", True, [], {"a": 1})
    ),
    *(
        Odd(f"{key.replace('__', '.')} {value!r}", config(**{key: value}), "")
        for key, value in [
            ("text_config__hidden_size", 33),
            ("text_config__hidden_size", 2**62),
            ("text_config__hidden_size", 10**30),
            ("text_config__num_hidden_layers", 3),
            ("text_config__num_hidden_layers", 2**40),
            ("text_config__num_attention_heads", 5),
            ("text_config__intermediate_size", HUGE),
            ("text_config__vocab_size", 100),
            ("vision_config__image_size", 48),
            ("vision_config__num_channels", HUGE),
            ("text_config__layer_norm_eps", "small"),
            ("text_config__layer_norm_eps", None),
            ("text_config__hidden_act", "os.system"),
            ("text_config__hidden_act", 3),
            ("text_config__hidden_act", None),
            ("projection_dim", 31),
            ("num_labels", HUGE),
            ("text_config__num_labels", HUGE),
            ("id2label", 3),
            ("logit_scale_init_value", "big"),
            ("text_config__eos_token_id", "x"),
            ("text_config__attention_dropout", "half"),
            ("text_config__eos_token_id", [1, 2]),
            ("vision_config__image_size", [32]),
            ("vision_config__image_size", [32, 32, 32]),
        ]
    ),
    Odd(
        "an adapter",
        write("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "someone/else"}),
        "adapter_config.json",
    ),
]

WEIGHTS = [
    Odd("weights missing", without("model.safetensors"), "no weights"),
    Odd("weights empty", write("model.safetensors", b""), "model.safetensors"),
    Odd("weights 4 bytes", write("model.safetensors", b"1234"), "model.safetensors"),
    Odd("weights cut", cut("model.safetensors"), "model.safetensors"),
    Odd(
        "weights cut by one byte",
        lambda folder: os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 1),
        "model.safetensors",
    ),
    Odd("weights and more", longer("model.safetensors", b"more"), "model.safetensors"),
    Odd("header 2^63", write("model.safetensors", (2**63).to_bytes(8, "little") + b"{}"), "model.safetensors"),
    Odd("header 2^40", write("model.safetensors", (2**40).to_bytes(8, "little") + b"{}"), "model.safetensors"),
    Odd(
        "header deep",
        lambda folder: write("model.safetensors", (200_000).to_bytes(8, "little") + b"[" * 100_000 + b"]" * 100_000)(
            folder
        ),
        "model.safetensors",
    ),
    Odd("header empty", write("model.safetensors", (2).to_bytes(8, "little") + b"{}"), ""),
    Odd("header not UTF-8", write("model.safetensors", (4).to_bytes(8, "little") + b"\xff\xfe{}"), "model.safetensors"),
    *(
        Odd(f"weights {kind}", instead("model.safetensors", target), "model.safetensors")
        for kind, target in [
            ("a pipe", "pipe"),
            ("a folder", "folder"),
            ("endless", "/dev/zero"),
            ("a link to nothing", "/nowhere/at/all"),
        ]
    ),
    Odd(
        "overlapping",
        header(
            lambda h: h["text_projection.weight"].update(data_offsets=h["visual_projection.weight"]["data_offsets"])
        ),
        "model.safetensors",
    ),
    Odd(
        "offsets beyond",
        header(lambda h: h["text_projection.weight"].update(data_offsets=[2**50, 2**50 + 4096])),
        "model.safetensors",
    ),
    Odd(
        "offsets backwards",
        header(lambda h: h["text_projection.weight"].update(data_offsets=[4096, 0])),
        "model.safetensors",
    ),
    Odd(
        "offsets negative",
        header(lambda h: h["text_projection.weight"].update(data_offsets=[-4096, 0])),
        "model.safetensors",
    ),
    Odd("dtype unknown", header(lambda h: h["text_projection.weight"].update(dtype="F31")), "model.safetensors"),
    Odd(
        "shape overflows",
        header(lambda h: h["text_projection.weight"].update(shape=[2**40, 2**40])),
        "model.safetensors",
    ),
    Odd("bytes as int32", header(lambda h: h["text_projection.weight"].update(dtype="I32")), "text_projection.weight"),
    *(
        Odd(f"all {dtype}", each(lambda value, dtype=dtype: value.to(dtype)), "model.safetensors")
        for dtype in (
            torch.int8,
            torch.bool,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
            torch.complex64,
            torch.int64,
            torch.uint8,
        )
    ),
    *(
        Odd(
            f"one {dtype}",
            one("text_projection.weight", lambda value, dtype=dtype: value.to(dtype)),
            "text_projection.weight",
        )
        for dtype in (torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64)
    ),
    *(
        Odd(f"{key} {shape}", one(key, lambda value, shape=shape: torch.zeros(shape)), key)
        for key, shape in [
            ("text_model.final_layer_norm.weight", (1,)),
            ("text_model.final_layer_norm.weight", (1, 32)),
            ("text_model.final_layer_norm.weight", ()),
            ("text_model.final_layer_norm.weight", (0,)),
            ("text_projection.weight", (1, 32)),
            ("text_projection.weight", (32, 1)),
            ("text_projection.weight", (1024,)),
            ("logit_scale", (3,)),
            ("text_model.embeddings.token_embedding.weight", (1, 32)),
            ("visual_projection.weight", (48, 32)),
        ]
    ),
    Odd("a tensor missing", tensors(lambda s: s.pop("text_projection.weight")), "text_projection.weight"),
    Odd("a layer missing", tensors(lambda s: [s.pop(k) for k in [*s] if ".layers.1." in k]), "layers.1."),
    Odd("only tensors that nobody knows", tensors(lambda s: [s.update({f"x.{k}": s.pop(k)}) for k in [*s]]), ""),
    *(
        Odd(
            f"a {value} in a matrix",
            one("text_projection.weight", lambda t, v=value: t.index_fill(0, torch.tensor([3]), v)),
            "text_projection.weight",
        )
        for value in (float("nan"), float("inf"), float("-inf"))
    ),
    Odd(
        "NaN in an image weight",
        one("visual_projection.weight", lambda t: t.index_fill(0, torch.tensor([3]), float("nan"))),
        "visual_projection.weight",
    ),
    Odd("NaN everywhere", each(lambda t: torch.full_like(t, float("nan"))), "NaN"),
    Odd("zeros everywhere", each(torch.zeros_like), "one number over and over"),
    Odd("ones everywhere", each(torch.ones_like), "one number over and over"),
]

SPLIT = [
    *(
        Odd(f"index names {name}", index(lambda _, where, name=name: moved(where, name)), "index.json")
        for name in (
            "../outside.safetensors",
            "/etc/passwd",
            "a/b.safetensors",
            "..",
            ".",
            "",
            "/dev/zero",
            "nothing.safetensors",
            "config.json",
            3,
            None,
            ["x"],
            "x\0y",
            "\ud800",
        )
    ),
    Odd(
        "index names an absolute path to weights",
        index(lambda f, where: moved(where, str(f.parent / "outside.safetensors"))),
        "index.json",
    ),
    Odd(
        "index with another shard for a tensor",
        index(lambda _, where: where.update({sorted(where)[0]: "model-00002-of-00002.safetensors"})),
        "index.json",
    ),
    Odd(
        "index with a tensor that isn't there",
        index(lambda _, where: where.update(more="model-00002-of-00002.safetensors")),
        "more",
    ),
    Odd(
        "a tensor in two shards",
        index(
            lambda f, where: (
                shutil.copy(f / "model-00001-of-00002.safetensors", f / "model-00003.safetensors")
                and where.update(zip(["text_model.final_layer_norm.bias"], ["model-00003.safetensors"], strict=True))
            )
        ),
        "",
    ),
    *(
        Odd(f"weight_map {value!r}", index(lambda _, where, value=value: {"weight_map": value}), "index.json")
        for value in ([], "x", 3, None, {})
    ),
    Odd("index without map", index(lambda _, where: {"metadata": {}}), "index.json"),
    Odd("index a list", index(lambda _, where: [1]), "index.json"),
    Odd("index cut", both(index(lambda _, where: None), cut("model.safetensors.index.json")), "index.json"),
    Odd(
        "index a pipe",
        both(index(lambda _, where: None), instead("model.safetensors.index.json", "pipe")),
        "index.json",
    ),
    Odd(
        "a shard a pipe",
        both(index(lambda _, where: None), instead("model-00002-of-00002.safetensors", "pipe")),
        "00002",
    ),
    Odd("a shard missing", both(index(lambda _, where: None), without("model-00002-of-00002.safetensors")), "00002"),
    Odd("a shard cut", both(index(lambda _, where: None), cut("model-00002-of-00002.safetensors")), "00002"),
]


def bomb(name: str, content: bytes) -> bytes:
    return b"\0" * 2**26 if name.endswith("/data/0") else content


PICKLED = [
    Odd("bin empty", raw_bin(b""), "pytorch_model.bin"),
    Odd("bin html", raw_bin(b"<html>404</html>"), "pytorch_model.bin"),
    Odd("bin zip cut", raw_bin(b"PK\x03\x04 cut"), "pytorch_model.bin"),
    Odd("bin with code", pickled(lambda f, s: assigned(s, x=Runs())), "pytorch_model.bin"),
    Odd("bin all code", raw_bin(pickle.dumps(Runs())), "pytorch_model.bin"),
    Odd(
        "bin old form with code",
        pickled(lambda f, s: assigned(s, x=Runs()), _use_new_zipfile_serialization=False),
        "pytorch_model.bin",
    ),
    Odd("bin a list", pickled(lambda f, s: [1]), "pytorch_model.bin"),
    Odd("bin a tensor", pickled(lambda f, s: torch.zeros(3)), "pytorch_model.bin"),
    Odd("bin null", pickled(lambda f, s: None), "pytorch_model.bin"),
    Odd("bin of texts", pickled(lambda f, s: dict.fromkeys(s, "x")), "pytorch_model.bin"),
    Odd("bin with keys that are numbers", pickled(lambda f, s: dict(enumerate(s.values()))), "pytorch_model.bin"),
    Odd("bin nested", pickled(lambda f, s: {"state_dict": s}), "pytorch_model.bin"),
    Odd("bin sparse", pickled(lambda f, s: {k: v.to_sparse() for k, v in s.items()}), "pytorch_model.bin"),
    Odd("bin meta", pickled(lambda f, s: {k: v.to("meta") for k, v in s.items()}), "pytorch_model.bin"),
    Odd("bin int8", pickled(lambda f, s: {k: v.to(torch.int8) for k, v in s.items()}), "pytorch_model.bin"),
    Odd(
        "bin expanded",
        both(
            config(text_config__vocab_size=10**7, text_config__hidden_size=32),
            pickled(
                lambda f, s: assigned(
                    s, **{"text_model.embeddings.token_embedding.weight": torch.zeros(1, 1).expand(10**7, 32)}
                )
            ),
        ),
        "",
    ),
    Odd("bin a bomb", rezipped(bomb, compress=True), "pytorch_model.bin"),
    Odd("bin compressed", rezipped(lambda _, content: content, compress=True), "pytorch_model.bin"),
    Odd(
        "bin its pickle cut",
        rezipped(lambda n, c: c[: len(c) // 2] if n.endswith("data.pkl") else c),
        "pytorch_model.bin",
    ),
    Odd("bin its pickle html", rezipped(lambda n, c: b"<html>" if n.endswith("data.pkl") else c), "pytorch_model.bin"),
    Odd("bin a storage cut", rezipped(lambda n, c: c[:3] if n.endswith("/data/0") else c), "pytorch_model.bin"),
    Odd("bin all NaN", pickled(lambda f, s: {k: torch.full_like(v, torch.nan) for k, v in s.items()}), "NaN"),
    Odd("bin cut", both(pickled(lambda f, s: s), cut("pytorch_model.bin")), "pytorch_model.bin"),
    Odd("bin a pipe", both(without("model.safetensors"), instead("pytorch_model.bin", "pipe")), "pytorch_model.bin"),
    Odd(
        "bin endless",
        both(without("model.safetensors"), instead("pytorch_model.bin", "/dev/zero")),
        "pytorch_model.bin",
    ),
]


def vocabulary(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        change(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return spoil


TOKENIZER = [
    *of_json("tokenizer.json"),
    *of_json("tokenizer_config.json", but=("missing", "a link to nothing"), says="tokenizer"),
    Odd("no tokenizer at all", without("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
    Odd("only its settings", without("tokenizer.json"), "tokenizer"),
    Odd("tokenizer.json {}", write("tokenizer.json", {}), "tokenizer"),
    Odd(
        "vocabulary larger than the table",
        vocabulary(lambda t: t["model"]["vocab"].update({f"word{n}": 600 + n for n in range(300)})),
        "tokenizer",
    ),
    Odd("vocabulary empty", vocabulary(lambda t: t["model"].update(vocab={}, merges=[])), "tokenizer"),
    Odd(
        "vocabulary ids texts",
        vocabulary(lambda t: t["model"].update(vocab=dict.fromkeys(t["model"]["vocab"], "1"))),
        "tokenizer",
    ),
    Odd(
        "vocabulary ids all one",
        vocabulary(lambda t: t["model"].update(vocab=dict.fromkeys(t["model"]["vocab"], 1))),
        "tokenizer",
    ),
    Odd("vocabulary ids huge", vocabulary(lambda t: t["model"]["vocab"].update({"a</w>": 2**31})), "tokenizer"),
    Odd("vocabulary ids negative", vocabulary(lambda t: t["model"]["vocab"].update({"a</w>": -1})), "tokenizer"),
    Odd("model of another kind", vocabulary(lambda t: t["model"].update(type="Nothing")), "tokenizer"),
    Odd("merges of what isn't there", vocabulary(lambda t: t["model"].update(merges=[["no", "such"]])), "tokenizer"),
    Odd(
        "code of its own",
        setting("tokenizer_config.json", auto_map={"AutoTokenizer": ["tok.Tok", None]}, tokenizer_class="Tok"),
        "tokenizer",
    ),
    Odd("a class that is a number", setting("tokenizer_config.json", tokenizer_class=3), "tokenizer"),
    Odd("special tokens that are numbers", setting("tokenizer_config.json", eos_token=3), "tokenizer"),
    Odd("special_tokens_map a pipe", instead("special_tokens_map.json", "pipe"), "special_tokens_map.json"),
    Odd("added_tokens a pipe", instead("added_tokens.json", "pipe"), "added_tokens.json"),
    Odd("added_tokens endless", instead("added_tokens.json", "/dev/zero"), "added_tokens.json"),
    Odd("chat_template a pipe", instead("chat_template.jinja", "pipe"), "chat_template.jinja"),
    Odd("added_tokens cut", write("added_tokens.json", "{"), "added_tokens.json"),
    Odd("special_tokens_map a list", write("special_tokens_map.json", [1]), "special_tokens_map.json"),
    Odd(
        "another model's tokenizer",
        lambda folder: shutil.copy(made(language_model) / "tokenizer.json", folder),
        "tokenizer",
    ),
]

SIZED = (
    {"height": 32},
    {"height": HUGE, "width": HUGE},
    {"shortest_edge": HUGE},
    {"shortest_edge": 0},
    {"shortest_edge": -32},
    {"shortest_edge": "32"},
    {"shortest_edge": 32.5},
    HUGE,
    0,
    -1,
    "32",
    [32, 32],
    None,
    32.0,
    True,
    {"height": "32", "width": "32"},
    {"height": [32], "width": 32},
)
PIXELS = [
    *of_json("preprocessor_config.json", says="preprocessor"),
    *(Odd(f"size {value!r}", pixels(size=value), "size") for value in SIZED),
    *(Odd(f"crop_size {value!r}", pixels(crop_size=value), "") for value in SIZED),
    *(
        Odd(f"{key} {value!r}", pixels(**{key: value}), key)
        for key in ("image_mean", "image_std")
        for value in (
            [],
            [0.5],
            [0.5] * 4,
            "x",
            ["a", "b", "c"],
            None,
            {},
            [[0.5]] * 3,
            [None] * 3,
            [True] * 3,
            "0.5",
            [10**400] * 3,
        )
    ),
    Odd("image_std 0", pixels(image_std=[0.5, 0, 0.5]), "image_std"),
    Odd("image_std all 0", pixels(image_std=0), "image_std"),
    Odd("image_std negative", pixels(image_std=[-0.5] * 3), "image_std"),
    Odd("image_std tiny", pixels(image_std=[1e-300] * 3), "image_std"),
    Odd(
        "image_mean NaN",
        both(
            lambda f: (f / "preprocessor_config.json").write_text(
                (f / "preprocessor_config.json").read_text().replace("0.485", "NaN")
            )
        ),
        "preprocessor_config.json",
    ),
    Odd(
        "image_mean infinite",
        both(
            lambda f: (f / "preprocessor_config.json").write_text(
                (f / "preprocessor_config.json").read_text().replace("0.485", "1e999")
            )
        ),
        "preprocessor_config.json",
    ),
    *(
        Odd(f"resample {value!r}", pixels(resample=value), "resample")
        for value in (99, -1, "bicubic", 2.5, [3], True, {})
    ),
    *(
        Odd(f"rescale_factor {value!r}", pixels(rescale_factor=value), "rescale_factor")
        for value in (0, -1, "x", [], HUGE, True, 1e-40)
    ),
    *(
        Odd(f"{key} {value!r}", pixels(**{key: value}), key)
        for key in ("do_normalize", "do_center_crop", "do_resize")
        for value in ("no", 3, [], {})
    ),
]

LANGUAGE = [
    Odd("no tokenizer", without("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
    Odd(
        "vocabulary larger",
        vocabulary(lambda t: t["model"]["vocab"].update({f"word{n}": 258 + n for n in range(300)})),
        "tokenizer",
    ),
    Odd("num_hidden_layers huge", config(num_hidden_layers=HUGE), "num_hidden_layers"),
    Odd("head_dim huge", config(head_dim=HUGE), ""),
    Odd("head_dim a text", config(head_dim="x"), "head_dim"),
    Odd("head_dim 0", config(head_dim=0), "head_dim"),
    Odd("num_key_value_heads 3", config(num_key_value_heads=3), ""),
    Odd("num_key_value_heads 0", config(num_key_value_heads=0), "num_key_value_heads"),
    Odd("rope a text", config(rope_scaling="x"), ""),
    Odd("rope unknown", config(rope_scaling={"rope_type": "nothing", "factor": 2.0}), ""),
    Odd("rope_theta 0", config(rope_theta=0), ""),
    Odd("rope_theta a text", config(rope_theta="x"), ""),
    Odd("rope factor NaN", config(rope_parameters={"rope_type": "linear", "factor": 0, "rope_theta": 10000}), ""),
    Odd("layer_types odd", config(layer_types=["nothing"]), ""),
    Odd("model_type without model", config(model_type="clip_text_model_x"), ""),
    Odd("a norm of one", one("norm.weight", lambda t: torch.ones(1)), "norm.weight"),
    Odd("NaN", one("norm.weight", lambda t: t * torch.nan), "norm.weight"),
]

SOME_PIXELS = [
    *of_json(
        "video_preprocessor_config.json",  # it isn't there
        but=("missing", "cut", "in UTF-16", "in UTF-32", "in Latin-1", "of 300 MB, all holes", "a link to nothing"),
    ),
    Odd(
        "settings of a processor a list",
        both(without("preprocessor_config.json"), write("processor_config.json", {"image_processor": [1]})),
        "processor_config.json",
    ),
    Odd("settings of a processor a pipe", instead("processor_config.json", "pipe"), "processor_config.json"),
    Odd(
        "no settings but empty ones",
        both(without("preprocessor_config.json"), write("processor_config.json", {})),
        "preprocessor",
    ),
]

GENERAL: list[Odd] = [
    Odd("config deep", write("config.json", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "config.json"),
    Odd("weights int8", each(lambda value: value.to(torch.int8)), "model.safetensors"),
    Odd("NaN", each(lambda value: value * torch.nan), "model.safetensors"),
    Odd("no tokenizer", without("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
    Odd("weights a pipe", instead("model.safetensors", "pipe"), "model.safetensors"),
    Odd("tokenizer a pipe", instead("tokenizer.json", "pipe"), "tokenizer.json"),
    Odd(
        "layers huge",
        config(text_config__num_hidden_layers=HUGE, vision_config__num_hidden_layers=HUGE),
        "num_hidden_layers",
    ),
    Odd("hidden huge", config(text_config__hidden_size=HUGE, vision_config__hidden_size=HUGE), "hidden_size"),
    Odd("tensor missing", tensors(lambda s: s.pop(sorted(s)[-1])), ""),
]

XCLIP = [
    *(
        Odd(f"num_frames {value!r}", config(vision_config__num_frames=value), "num_frames")
        for value in (0, -1, HUGE, "4", 2.5, [4])
    ),
    *(
        Odd(f"{key} {value!r}", config(**{key: value}), key.rpartition("__")[2])
        for key in ("prompt_num_attention_heads", "prompt_layers", "vision_config__mit_num_hidden_layers")
        for value in (0, -1, HUGE, "4", 2.5)
    ),
]

LLAMA = [
    *of_json("config.json"),
    *of_json("tokenizer.json"),
    *(odd for odd in SPLIT),
    *(
        odd
        for odd in WEIGHTS
        if "text_" not in odd.says
        and "visual_" not in odd.says
        and "projection" not in odd.name
        and odd.name.split()[0] in ("weights", "header", "all", "only", "zeros")
    ),
    *(odd for odd in PICKLED if odd.name != "bin expanded" and odd.name != "bin nested"),
    *(
        Odd(f"{key} {value!r}", config(**{key: value}), key)
        for key in (
            "hidden_size",
            "num_hidden_layers",
            "vocab_size",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        )
        for value in (HUGE, 0, -1, 2.5, "32", True, [])
    ),
    *(
        Odd(f"{key} {value!r}", config(**{key: value}), "")
        for key, value in [
            ("num_attention_heads", 3),
            ("num_key_value_heads", 0),
            ("num_key_value_heads", 3),
            ("hidden_act", "x"),
            ("rms_norm_eps", "x"),
            ("rope_scaling", "x"),
            ("rope_parameters", {"rope_type": "default", "rope_theta": 0}),
            ("head_dim", HUGE),
            ("head_dim", 0),
        ]
    ),
    Odd("code of its own", config(auto_map={"AutoModel": "m.M"}), "auto_map"),
    Odd("a norm of one", one("model.norm.weight", lambda t: torch.ones(1)), "model.norm.weight"),
    Odd("a norm of (1, d)", one("model.norm.weight", lambda t: t[None]), "model.norm.weight"),
    Odd("a norm NaN", one("model.norm.weight", lambda t: t * torch.nan), "model.norm.weight"),
    Odd("a norm int8", one("model.norm.weight", lambda t: t.to(torch.int8)), "model.norm.weight"),
    Odd("a norm complex", one("model.norm.weight", lambda t: t.to(torch.complex64)), "model.norm.weight"),
    Odd("a norm float8", one("model.norm.weight", lambda t: t.to(torch.float8_e4m3fn)), "model.norm.weight"),
    Odd("vocabulary empty", vocabulary(lambda t: t["model"].update(vocab={}, merges=[])), "tokenizer.json"),
    Odd("tokenizer.model a pipe", instead("tokenizer.model", "pipe"), "tokenizer.model"),
    Odd("tokenizer.model endless", instead("tokenizer.model", "/dev/zero"), "tokenizer.model"),
    Odd("tokenizer.model empty", write("tokenizer.model", b""), "tokenizer.model"),
]


def pth(role: str, change: Callable[[dict[str, Any]], object]) -> Spoil:
    """One of Video-LLaMA's own files, its state changed in place."""

    def spoil(folder: Path) -> None:
        path = folder / VISION_FILES[role]
        content = torch.load(path, weights_only=True)
        change(content.get("model", content))
        torch.save(content, path)

    return spoil


def part(role: str, key: str, change: Callable[[torch.Tensor], Any]) -> Spoil:
    return pth(role, lambda state: state.update({key: change(state[key])}))


VISION_FILES = {
    "eva_vit": "eva_vit_g.pth",
    "qformer": "blip2_pretrained_flant5xxl.pth",
    "finetune": "finetune-vicuna7b-v2.pth",
}
_PARTS = [
    ("eva_vit", "cls_token"),
    ("eva_vit", "pos_embed"),
    ("eva_vit", "patch_embed.proj.weight"),
    ("eva_vit", "blocks.0.mlp.fc1.weight"),
    ("eva_vit", "blocks.0.attn.q_bias"),
    ("qformer", "query_tokens"),
    ("qformer", "ln_vision.weight"),
    ("finetune", "llama_proj.bias"),
    ("qformer", "Qformer.bert.encoder.layer.0.attention.self.query.weight"),
    ("finetune", "video_query_tokens"),
    ("finetune", "video_frame_position_embedding.weight"),
    ("finetune", "video_Qformer.bert.encoder.layer.0.attention.self.query.weight"),
]
VISION = [
    *(
        Odd(f"{key} {shape}", part(role, key, lambda t, s=shape: torch.zeros(s)), "")
        for role, key in _PARTS
        for shape in ((), (0,), (1,), (1, 1, 1), (2, 0, 0))
    ),
    *(
        Odd(f"{key} {dtype}", part(role, key, lambda t, d=dtype: t.to(d)), VISION_FILES[role])
        for role, key in _PARTS[::3]
        for dtype in (torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn)
    ),
    *(Odd(f"{key} NaN", part(role, key, lambda t: t * torch.nan), "NaN") for role, key in _PARTS[::4]),
    *(Odd(f"{key} sparse", part(role, key, lambda t: t.to_sparse()), VISION_FILES[role]) for role, key in _PARTS[::5]),
    *(
        Odd(f"{role} {kind}", instead(VISION_FILES[role], target), VISION_FILES[role])
        for role in VISION_FILES
        for kind, target in [
            ("a pipe", "pipe"),
            ("a folder", "folder"),
            ("endless", "/dev/zero"),
            ("a link to nothing", "/nowhere"),
        ]
    ),
    *(Odd(f"{role} cut", cut(VISION_FILES[role]), VISION_FILES[role]) for role in VISION_FILES),
    Odd("eva zeros", pth("eva_vit", lambda s: s.update({k: torch.zeros_like(v) for k, v in s.items()})), "eva_vit"),
    Odd(
        "layer numbers huge",
        pth(
            "qformer",
            lambda s: s.update({"Qformer.bert.encoder.layer.999999999.attention.self.query.weight": torch.zeros(1)}),
        ),
        "",
    ),
    Odd(
        "layer numbers of 5,000 digits",
        pth(
            "qformer",
            lambda s: s.update(
                {f"Qformer.bert.encoder.layer.{'9' * 5000}.attention.self.query.weight": torch.zeros(1)}
            ),
        ),
        "",
    ),
    Odd("keys that are numbers", pth("eva_vit", lambda s: s.update({3: torch.zeros(1)})), "eva_vit"),
]


class Group(NamedTuple):
    """Odd checkpoints of one kind.

    Attributes:
        encoder: `side/name`.
        source: makes the valid one.
        options: of the encoder, with the checkpoint in this folder.
        odd: the ways to spoil it.
    """

    encoder: str
    source: Callable[[], Path]
    options: Callable[[Path], dict[str, Any]]
    odd: list[Odd]


def in_folder(encoder: str, maker: Callable[[Path], Path], odd: list[Odd], **others: Any) -> Group:
    return Group(encoder, lambda: made(maker), lambda folder: {"model": str(folder), **others}, odd)


def vision(folder: Path) -> dict[str, Any]:
    sizes = {"vit_blocks": 3, "vit_heads": 4, "qformer_heads": 4}
    return {"weights": {role: str(folder / name) for role, name in VISION_FILES.items()}, "sizes": sizes}


GROUPS = {
    "config": in_folder("text/clip", clip, CONFIG),
    "weights": in_folder("text/clip", clip, WEIGHTS),
    "split": in_folder("text/clip", clip, SPLIT),
    "pickled": in_folder("text/clip", clip, PICKLED),
    "tokenizer": in_folder("text/clip", clip, TOKENIZER),
    "pixels": in_folder("video/clip", clip, PIXELS, n_frames=2),
    "more pixels": in_folder("video/siglip2", siglip2, SOME_PIXELS, n_frames=2),
    "hf-lm": in_folder("text/hf-lm", language_model, LANGUAGE),
    "xclip": in_folder("video/xclip", xclip, XCLIP + [odd for odd in GENERAL if "tokenizer" not in odd.name]),
    "xclip text": in_folder("text/xclip", xclip, GENERAL),
    "siglip2": in_folder("text/siglip2", siglip2, GENERAL),
    "metaclip2": in_folder("text/metaclip2", metaclip2, GENERAL),
    "videoprism": in_folder("text/videoprism-lvt", videoprism, GENERAL),
    "hf-dual": in_folder("text/hf-dual", xclip, GENERAL),
    "llama": Group(
        "text/video-llama-7b", lambda: TINY_LLAMA / "llama", lambda f: {"weights": {"llama": str(f)}}, LLAMA
    ),
    "vision": Group("video/video-llama-7b", lambda: TINY_LLAMA, vision, VISION),
}
