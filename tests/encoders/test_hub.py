"""Checkpoints: a folder or a pinned commit; what is missing, mismatched or would run code is refused by name."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import clip, language_model, made
from inputs import loaded
from safetensors.torch import load_file, save_file

from reelstore.encoders.hf_frames import HfFramesText
from reelstore.encoders.hub import find_checkpoint
from reelstore.encoders.hub_network import load_network
from reelstore.errors import ParamsError, WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def find(model: Any, revision: Any = None) -> Any:
    return find_checkpoint(model, revision, encoder="text/clip")


def load(folder: Path) -> Any:
    return load_network(find(str(folder)), dtype=torch.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(made(clip), tmp_path / "checkpoint"))


@pytest.fixture
def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


class TestWhere:
    def test_no_model_at_all_is_refused(self) -> None:
        for model in (None, ""):
            with pytest.raises(ParamsError, match="text/clip needs `model`"):
                find(model)

    @pytest.mark.parametrize("revision", [None, "main", "0123456", COMMIT.upper(), COMMIT + "0"])
    def test_a_model_of_the_hub_needs_a_whole_commit(self, revision: str | None) -> None:
        with pytest.raises(ParamsError, match=r"openai/clip.*40 hex digits.*huggingface.co/openai/clip/commits/main"):
            find("openai/clip", revision)

    @pytest.mark.parametrize("revision", [123, ["x"], COMMIT + "\n", "../" + COMMIT[3:]])
    def test_a_revision_that_is_no_commit_is_refused(self, revision: Any) -> None:
        with pytest.raises(ParamsError, match="40 hex digits"):
            find("openai/clip", revision)

    @pytest.mark.parametrize("model", [3, ["a"], {"a": 1}])
    def test_a_model_that_is_no_text_is_refused(self, model: Any) -> None:
        with pytest.raises(ParamsError, match="a folder, or owner/name"):
            find(model, COMMIT)

    @pytest.mark.parametrize("kind", ["file", "pipe", "link to nothing"])
    def test_what_is_no_folder_is_refused(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "model"
        {"file": path.touch, "pipe": lambda: os.mkfifo(path), "link to nothing": lambda: path.symlink_to("x")}[kind]()
        with pytest.raises(WeightsError, match="neither a folder here nor"):
            find(str(path))

    def test_a_folder_has_no_revision(self, folder: Path) -> None:
        with pytest.raises(ParamsError, match="is a folder here, which has no revision"):
            find(str(folder), COMMIT)

    @pytest.mark.parametrize(
        "model",
        [
            *("/no/such/folder", "clip", "../clip/x", "a/b/c", "a/..", "a/.", "../b", "a/b..c", "a--b/c", "a/b.git"),
            *(".a/b", "a/b.", "a/" + "b" * 200, "a/b\n", "a\0/b", "ä/b", "/dev/zero"),
        ],
    )
    def test_what_is_neither_folder_nor_repository_is_refused(self, model: str) -> None:
        with pytest.raises(WeightsError, match="neither a folder here nor owner/name on the hub"):
            find(model, COMMIT)


class TestHub:
    """With a cache of our own, and no network: what isn't in the cache can't be had."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_offline_a_commit_in_the_cache_is_used(self, cache: Path, folder: Path) -> None:
        shutil.copytree(folder, cache / "models--openai--clip" / "snapshots" / COMMIT)
        found = find("openai/clip", COMMIT)
        assert found.sha256 == find(str(folder)).sha256
        assert (
            loaded(HfFramesText, model="openai/clip", revision=COMMIT, device="cpu").spec.weights_sha256 == found.sha256
        )

    def test_offline_another_commit_is_refused_with_the_command_that_gets_it(self, cache: Path, folder: Path) -> None:
        shutil.copytree(folder, cache / "models--openai--clip" / "snapshots" / ("f" * 40))
        with pytest.raises(WeightsError, match=rf"hf download openai/clip --revision {COMMIT}"):
            find("openai/clip", COMMIT)

    def test_offline_a_commit_without_its_weights_is_refused(self, cache: Path, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        shutil.copytree(folder, cache / "models--openai--clip" / "snapshots" / COMMIT)
        with pytest.raises(WeightsError, match=r"openai/clip@0123456789ab has no weights"):
            find("openai/clip", COMMIT)


class TestFiles:
    def test_a_missing_config_is_named(self, folder: Path) -> None:
        (folder / "config.json").unlink()
        with pytest.raises(WeightsError, match=r"no config\.json"):
            find(str(folder))

    def test_missing_weights_are_named(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
            find(str(folder))

    def test_split_weights_are_the_same_network_and_a_missing_part_is_named(self, folder: Path, weights: Any) -> None:
        whole = load(folder).state_dict()
        keys = sorted(weights)
        parts = {"model-00001-of-00002.safetensors": keys[:9], "model-00002-of-00002.safetensors": keys[9:]}
        for name, own in parts.items():
            save_file({key: weights[key] for key in own}, folder / name, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": {key: name for name, own in parts.items() for key in own}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        (folder / "model.safetensors").unlink()
        split = load(folder).state_dict()
        assert all(torch.equal(split[key], whole[key]) for key in whole)
        (folder / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"model-00002-of-00002\.safetensors.*is missing"):
            find(str(folder))

    def test_a_bin_file_gives_the_same_network(self, folder: Path, weights: Any) -> None:
        whole = load(folder).state_dict()
        torch.save(weights, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        from_bin = load(folder).state_dict()
        assert all(torch.equal(from_bin[key], whole[key]) for key in whole)

    def test_safetensors_are_preferred(self, folder: Path) -> None:
        (folder / "pytorch_model.bin").write_bytes(b"not looked at")
        assert [path.name for path in find(str(folder)).weights] == ["model.safetensors"]
        load(folder)

    def test_a_bin_file_that_would_run_code_is_refused_and_runs_none(
        self, folder: Path, weights: Any, tmp_path: Path
    ) -> None:
        class Writes:
            def __reduce__(self) -> Any:
                return Path.touch, (tmp_path / "ran",)

        (folder / "model.safetensors").unlink()
        torch.save({**weights, "text_projection.weight": Writes()}, folder / "pytorch_model.bin")
        with pytest.raises(WeightsError, match="can't be loaded"):
            load(folder)
        assert not (tmp_path / "ran").exists()

    def test_weights_cut_short_are_refused(self, folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
        with pytest.raises(WeightsError, match="can't be loaded"):
            load(folder)

    def test_a_missing_key_is_named(self, folder: Path, weights: Any) -> None:
        del weights["text_projection.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=r"lack keys: 1, text_projection\.weight first"):
            load(folder)

    def test_a_key_of_another_shape_is_named_with_both(self, folder: Path, weights: Any) -> None:
        weights["text_projection.weight"] = torch.zeros(30, 32)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=r"text_projection\.weight is \(30, 32\).*makes it \(32, 32\)"):
            load(folder)

    def test_a_model_that_comes_as_code_is_refused(self, folder: Path) -> None:
        config = {
            "model_type": "their-own",
            "auto_map": {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"},
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "modeling.py").write_text("raise SystemExit('this ran')")
        with pytest.raises(WeightsError, match="can't be loaded"):
            load(folder)

    def test_a_model_of_another_type_is_refused(self) -> None:
        with pytest.raises(WeightsError, match="holds a model of type 'qwen3'; this encoder takes clip"):
            loaded(HfFramesText, model=str(made(language_model)), device="cpu")

    def test_a_checkpoint_without_tokenizer_is_refused(self, folder: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        with pytest.raises(WeightsError, match="tokenizer"):
            loaded(HfFramesText, model=str(folder), device="cpu")


class TestDigest:
    def test_weights_and_config_move_it_and_where_they_lie_does_not(self, folder: Path, tmp_path: Path) -> None:
        original = find(str(made(clip))).sha256
        assert find(str(folder)).sha256 == original
        config = json.loads((folder / "config.json").read_text())
        config["vision_config"]["layer_norm_eps"] = 1e-3
        other = Path(shutil.copytree(folder, tmp_path / "other"))
        (other / "config.json").write_text(json.dumps(config))
        third = clip(tmp_path / "third", eos_token_id=2)
        assert len({original, find(str(other)).sha256, find(str(third)).sha256}) == 3

    def test_a_tokenizer_s_files_move_the_fingerprint(self, folder: Path) -> None:
        before = loaded(HfFramesText, model=str(made(clip)), device="cpu").spec
        content = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**content, "model_max_length": 23}))
        after = loaded(HfFramesText, model=str(folder), device="cpu").spec
        assert after.fingerprint() != before.fingerprint()
        assert after.weights_sha256 == before.weights_sha256
