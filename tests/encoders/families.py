"""Tiny checkpoints of language models, each with a tokenizer of its family, trained on a few lines."""

import json
import string
from pathlib import Path
from typing import Any, NamedTuple

from checkpoints import SMALL, write
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

LINES = [
    "a man is slicing a tomato on a wooden board while a dog looks on",
    "people are dancing in the street at night, a woman sings on stage",
    "Ça alors, naïve café! 1,000 %",
    *string.ascii_letters,
] * 3
BYTES = pre_tokenizers.ByteLevel.alphabet()
PRINTED = list(string.printable.strip())
NAMED = {
    "bert": {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "roberta": {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>"},
    "gpt2": {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"},
    "qwen": {"pad": "<|endoftext|>", "eos": "<|im_end|>"},
    "llama": {"unk": "<unk>", "bos": "<s>", "eos": "</s>"},
    "words": {"unk": "[UNK]", "pad": "[PAD]", "eos": "</s>"},
}


class Family(NamedTuple):
    """How a family tokenises, and what its config.json says beyond the usual."""

    kind: str
    specials: tuple[str, ...]
    named: str
    around: tuple[str | None, str | None]
    tokenizer_class: str
    config: dict[str, Any]


FAMILIES = {
    "bert": Family(
        "word pieces", ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), "bert", ("[CLS]", "[SEP]"), "BertTokenizer", {}
    ),
    "roberta": Family(
        "bytes",
        ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        "roberta",
        ("<s>", "</s>"),
        "RobertaTokenizer",
        {"max_position_embeddings": 66, "pad_token_id": 1},
    ),
    "xlm-roberta": Family(
        "unigram",
        ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        "roberta",
        ("<s>", "</s>"),
        "XLMRobertaTokenizer",
        {"max_position_embeddings": 66, "pad_token_id": 1},
    ),
    "gpt2": Family(
        "bytes",
        ("<|endoftext|>",),
        "gpt2",
        (None, None),
        "GPT2Tokenizer",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    ),
    "qwen3": Family(
        "bytes",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "qwen",
        (None, None),
        "Qwen2Tokenizer",
        {"num_key_value_heads": 2, "head_dim": 8},
    ),
    "llama": Family(
        "sentence pieces",
        ("<unk>", "<s>", "</s>"),
        "llama",
        ("<s>", None),
        "LlamaTokenizer",
        {"num_key_value_heads": 2},
    ),
    "electra": Family(
        "words",
        ("[PAD]", "[UNK]", "</s>", "<mask>"),
        "words",
        (None, "</s>"),
        "PreTrainedTokenizerFast",
        {"embedding_size": 32},
    ),
}


def family(name: str, folder: Path, *, spare_rows: int = 0) -> Path:
    """A checkpoint of a family; its table has `spare_rows` more than the tokenizer has ids."""
    of = FAMILIES[name]
    tokenizer = trained(of)
    start, end = of.around
    if start or end:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(filter(None, (start, "$A", end))),
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in (start, end) if token],
        )
    config = {**SMALL, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    rows = max(tokenizer.get_vocab().values()) + 1 + spare_rows
    write(folder, {**config, **of.config, "model_type": name, "vocab_size": rows})
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{role}_token": token for role, token in NAMED[of.named].items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": of.tokenizer_class, **named}))
    return folder


def trained(of: Family) -> Tokenizer:
    """A tokenizer of this kind, without what it puts around a text."""
    specials = list(of.specials)
    quiet: dict[str, Any] = {"special_tokens": specials, "show_progress": False}
    if of.kind == "word pieces":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=250, initial_alphabet=PRINTED, **quiet)
    elif of.kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=BYTES, **quiet)
    elif of.kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=180, unk_token="<unk>", initial_alphabet=PRINTED, **quiet)
    elif of.kind == "sentence pieces":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        trainer = trainers.BpeTrainer(vocab_size=200, initial_alphabet=[*PRINTED, "▁"], **quiet)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(**quiet)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer
