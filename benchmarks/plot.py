"""What reading.py measured, drawn: docs/reading.svg.

    python benchmarks/plot.py benchmarks/results/reading.json docs/reading.svg

A panel a workload; each contender's ratio to a gather from memory, median and quartiles, on a logarithmic axis.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

OURS = "reelstore"
DESCRIPTIONS = {
    "P": "P: 256 pooled captions",
    "V": "V: 256 pooled videos",
    "T": "T: 32 videos of 32 tokens",
    "R": "R: 64 captions of 5-25 tokens",
}


def draw(measured: list[dict[str, Any]], path: Path) -> None:
    """One panel for each workload, contenders in the order of the first one's medians."""
    first = measured[0]["results"]
    names = sorted(first, key=lambda name: first[name]["ratio_to_memory"]["median"])
    figure, panels = plt.subplots(
        1, len(measured), sharey=True, figsize=(2.6 * len(measured) + 2.4, 0.28 * len(names) + 1.2), squeeze=False
    )
    for panel, one in zip(panels[0], measured, strict=True):
        for place, name in enumerate(names):
            if name not in one["results"]:
                continue
            ratio = one["results"][name]["ratio_to_memory"]
            colour = "tab:red" if name.startswith(OURS) else "tab:gray"
            panel.plot([ratio["q1"], ratio["q3"]], [place, place], color=colour, linewidth=3, alpha=0.4)
            panel.plot(ratio["median"], place, "o", color=colour, markersize=5)
        panel.axvline(1, color="black", linewidth=0.6)
        panel.set_xscale("log")
        panel.set_xlim(2e-4, 3)
        panel.set_title(DESCRIPTIONS[one["workload"]["name"]], fontsize=9)
        panel.grid(axis="x", linewidth=0.3)
        panel.tick_params(labelsize=8)
    panels[0][0].set_yticks(range(len(names)), names)
    figure.supxlabel("items a second, as a ratio to a gather from memory (median, quartiles)", fontsize=9)
    figure.tight_layout()
    plt.rcParams["svg.hashsalt"] = "reelstore"  # the same figures give the same bytes
    plt.rcParams["svg.fonttype"] = "none"  # words stay words
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON of reading.py --out")
    parser.add_argument("picture", type=Path, help="SVG to write")
    given = parser.parse_args()
    draw(json.loads(given.results.read_text())["workloads"], given.picture)


if __name__ == "__main__":
    main()
