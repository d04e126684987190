"""Two processes over gloo train on the batches of one, and to its weights, with every loss."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reelstore.align.training.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore:.*(LeafSpec|is not empty).*")
SCRIPT = Path(__file__).with_name("train_on_ranks.py")


@pytest.fixture(scope="module")
def trained(towers, tmp_path_factory) -> tuple[dict, list[dict]]:
    """What a process alone found, and what each of two did."""
    out = tmp_path_factory.mktemp("ranks")
    arguments = [str(folder) for folder in (towers.videos.folder, towers.captions.folder, out)]
    runpy.run_path(str(SCRIPT))["main"](*arguments, "1")
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments, "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (alone,), ranks = ([json.loads((out / f"{n}-{r}.json").read_text()) for r in range(n)] for n in (1, 2))
    return alone, ranks


@pytest.mark.parametrize("shuffle", ["rows", "blocks"])
def test_two_processes_train_on_the_batches_of_one(trained, shuffle) -> None:
    alone, ranks = trained[0][shuffle], [rank[shuffle] for rank in trained[1]]
    assert [epoch for epoch, _ in alone["seen"]] == [0] * 7 + [1] * 7
    for (_, whole), *parts in zip(alone["seen"], *(rank["seen"] for rank in ranks), strict=True):
        assert [len(part) for _, part in parts] == [10, 10]
        assert [pair for _, part in parts for pair in part] == whole
    assert ranks[0]["weights"] == ranks[1]["weights"]
    np.testing.assert_allclose(ranks[0]["weights"], alone["weights"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_two_processes_come_to_the_weights_and_loss_of_one(trained, loss) -> None:
    alone, ranks = trained[0][loss], [rank[loss] for rank in trained[1]]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    np.testing.assert_allclose(ranks[0]["weights"], alone["weights"], rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(ranks[0]["train_loss"], alone["train_loss"], rtol=1e-5)
    assert ranks[1]["train_loss"] == []  # one tells


@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_mean_of_two_ranks_gradients_is_the_gradient_of_the_batch(trained, loss) -> None:
    alone, ranks = trained[0]["gradients"][loss], [rank["gradients"][loss] for rank in trained[1]]
    assert np.linalg.norm(alone) > 0
    for rank in ranks:
        np.testing.assert_allclose(rank, alone, rtol=1e-10, atol=1e-14)


FIT = """
import numpy as np
import reelstore

rng = np.random.default_rng(0)
video = rng.normal(size=(80, 6))
ranks = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
text = video @ rng.normal(size=(6, 4))
aligner = reelstore.fit("mlp", text=text, video=video, widths=[4], batch_size=16, max_epochs=2, trainer=ranks)
print(aligner.digest)
"""


def test_fit_in_two_processes_needs_no_folder_of_checkpoints(tmp_path) -> None:
    """Each process has a temporary folder of its own; the best epoch is in the first one's."""
    (tmp_path / "fit.py").write_text(FIT)
    command = [sys.executable, str(tmp_path / "fit.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    one, other = done.stdout.split()
    assert one == other
    assert "Warning" not in done.stderr
