"""Text is text: whatever a caption spells, no special token comes of it; ordinary captions keep the library's ids."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from checkpoints import clip, made, metaclip2, siglip2, xclip
from families import FAMILIES, family
from inputs import CAPTIONS
from transformers import AutoTokenizer, ByT5Tokenizer, SiglipTokenizer

from reelstore.encoders.caption_tokens import CaptionTokenizer
from reelstore.encoders.registry import load_encoder
from reelstore.errors import WeightsError

SPELLED = ["<|endoftext|>", "</s>", "<s>", "[SEP]", "[PAD]", "[UNK]", "<mask>", "<pad>", "<|im_end|>", "<unk>"]
PATTERNS = ["a {} dog", "{}", "a{}b", "{} dog", "dog {}", "A {}{} dog"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cache(lambda name: family(name, tmp_path_factory.mktemp("families") / name))


def tokens(tokenizer: Any, **options: Any) -> CaptionTokenizer:
    return CaptionTokenizer(tokenizer, **{"source": "here", "n_rows": None, **options})


def specials(tokenizer: Any) -> set[int]:
    unknown = ("[UNK]", "<unk>")  # what a word that isn't known becomes
    return {number for number, token in tokenizer.added_tokens_decoder.items() if token.content not in unknown}


@pytest.mark.parametrize("name", FAMILIES)
class TestFamilies:
    def test_ordinary_captions_keep_the_ids_of_the_library(self, name: str, folders: Any) -> None:
        library = AutoTokenizer.from_pretrained(folders(name))
        for caption in [*CAPTIONS, "", "  two  spaces ", "Hello, World!", "日本語 ☃"]:
            assert tokens(library).ids(caption) == library(caption)["input_ids"]
            cut = library(caption, truncation=True, max_length=5)["input_ids"]
            assert tokens(library, max_tokens=5).ids(caption) == cut

    @pytest.mark.parametrize("spelled", SPELLED)
    def test_no_caption_spells_a_special_token(self, name: str, spelled: str, folders: Any) -> None:
        library = AutoTokenizer.from_pretrained(folders(name))
        around = library("")["input_ids"]
        for pattern in PATTERNS:
            ids = tokens(library).ids(pattern.format(spelled, spelled))
            assert [number for number in ids if number in specials(library)] == around

    def test_those_of_the_template_stay_special(self, name: str, folders: Any) -> None:
        library = AutoTokenizer.from_pretrained(folders(name))
        special = FAMILIES[name].specials[-1]
        template = f"{special}say {{caption}} {special}"
        own = tokens(library, template=template)
        assert own.ids("a dog") == library(template.replace("{caption}", "a dog"))["input_ids"]
        around = [number for number in own.ids("") if number in specials(library)]
        assert around.count(library.convert_tokens_to_ids(special)) >= 2
        spelled = own.ids(f"a {special} dog")
        assert [number for number in spelled if number in specials(library)] == around

    def test_added_markers_are_text_and_added_words_are_words(self, name: str, folders: Any) -> None:
        library = AutoTokenizer.from_pretrained(folders(name))
        library.add_tokens(["covid19", "<think>"])
        word, marker = library.convert_tokens_to_ids(["covid19", "<think>"])
        ids = tokens(library).ids("a covid19 <think> dog")
        assert word in ids
        assert marker not in ids
        # Where the network has no row for them, both are text.
        assert max(tokens(library, n_rows=word).ids("a covid19 <think> dog")) < word


class TestSlow:
    def siglip(self, folder: Path) -> Any:
        import sentencepiece

        (folder / "lines.txt").write_text("\n".join(["a dog runs", "two cats play", "</s> <pad>"] * 20))
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "lines.txt"),
            model_prefix=str(folder / "spiece"),
            vocab_size=40,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        return SiglipTokenizer(str(folder / "spiece.model"))

    @pytest.mark.parametrize("kind", ["siglip", "byt5"])
    def test_a_slow_tokenizer_s_captions_too(self, kind: str, tmp_path: Path) -> None:
        library = self.siglip(tmp_path) if kind == "siglip" else ByT5Tokenizer()
        assert not library.is_fast
        own = tokens(library, max_tokens=24)
        for caption in ("a dog runs", "", "Two cats, a dog!"):
            assert own.ids(caption) == library(caption, truncation=True, max_length=24)["input_ids"]
        end = library.eos_token_id
        for pattern in PATTERNS:
            ids = own.ids(pattern.format("</s>", "</s>"))
            assert ids.count(end) == 1
            assert ids[-1] == end

    def test_special_tokens_of_its_template_stay_special(self) -> None:
        own = tokens(ByT5Tokenizer(), template="<extra_id_0>{caption}")
        assert own.ids("a</s>") == [259, 100, *(byte + 3 for byte in b"</s>"), 1]


@pytest.mark.parametrize(
    ("key", "maker", "spelled"),
    [
        ("text/clip", clip, "<|endoftext|>"),
        ("text/clip", clip, "<|startoftext|>"),
        ("text/xclip", xclip, "<|endoftext|>"),
        ("text/hf-dual", xclip, "<|endoftext|>"),
        ("text/siglip2", siglip2, "<eos>"),
        ("text/metaclip2", metaclip2, "</s>"),
    ],
)
def test_what_follows_a_special_token_s_spelling_counts(key: str, maker: Any, spelled: str) -> None:
    side, name = key.split("/")
    encoder: Any = load_encoder(side, name, options={"model": str(made(maker))}, device="cpu", threads=1)  # type: ignore[arg-type]
    rows = [
        encoder.encode([encoder.prepare(caption)])[0]["embedding"].tobytes()
        for caption in (f"a{spelled}dog", f"a{spelled}cat", f"a{spelled}", "a")
    ]
    assert len(set(rows)) == 4


def test_an_end_token_that_the_network_has_no_row_for_is_refused(folders: Any) -> None:
    library = AutoTokenizer.from_pretrained(folders("roberta"))
    with pytest.raises(WeightsError, match="beyond the 2 of the network"):
        tokens(library, n_rows=2)


def test_a_tokenizer_folder_isn_t_changed(folders: Any, tmp_path: Path) -> None:
    shutil.copytree(folders("bert"), tmp_path / "bert")
    library = AutoTokenizer.from_pretrained(tmp_path / "bert")
    before = library.backend_tokenizer.to_str()
    tokens(library, max_tokens=7).ids("a [SEP] dog")
    assert library.backend_tokenizer.to_str() == before
