"""Run by `make install` before pip: says how large a download is ahead, where torch comes with CUDA."""

import json
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Ask pip what it would fetch for the pinned torch; print a note if CUDA packages are among it."""
    lock = Path(__file__).parents[1] / "requirements.lock"
    pin = next(line for line in lock.read_text().splitlines() if line.startswith("torch=="))
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-"]
    asked = subprocess.run([*command, pin], capture_output=True, text=True, check=False)
    if asked.returncode:
        return  # the installation itself will say what is wrong
    names = [package["metadata"]["name"] for package in json.loads(asked.stdout)["install"]]
    n_cuda = sum(name.startswith(("nvidia-", "triton", "cuda-")) for name in names)
    if n_cuda:
        print(
            f"pip has a CUDA build of {pin} for this machine: with its {n_cuda} CUDA packages it downloads "
            "about 3 GB and takes 7 GB of disk. For the CPU build (200 MB), put its wheel where pip finds it "
            "(PIP_FIND_LINKS=folder) and start again.",
            flush=True,
        )


if __name__ == "__main__":
    main()
