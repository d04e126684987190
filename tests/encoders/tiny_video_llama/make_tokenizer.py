"""Writes llama/tokenizer.json, a tokenizer for the 160 tokens of the tiny LLaMA beside it: python make_tokenizer.py"""

import string
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, trainers

CORPUS = [
    "###Human: <Video> </Video> The video contains 8 frames sampled at 0.0, 1.2, 2.5 seconds. ###Assistant:",
    "a man is slicing a tomato on a wooden board while a dog looks on",
    "grinning face",
]


def main() -> None:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    # As LLaMA's: a space is a sign of its own, and every text begins with one.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=160,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=[*string.ascii_letters, *string.digits, *string.punctuation, "▁"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(Path(__file__).parent / "llama" / "tokenizer.json"))


if __name__ == "__main__":
    main()
