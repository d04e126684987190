"""Runs cases by hand: python -m tests.fuzz --seed 0 --cases 0:200, or one with --case 17 --keep FOLDER."""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

# Read once, when the libraries are loaded; a library's threads would not survive a fork.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DVC_NO_ANALYTICS": "1",
    "WANDB_MODE": "disabled",
}

from tests.fuzz.case import Case, Result
from tests.fuzz.catalogue import COMMANDS
from tests.fuzz.server import Server, sound


def main() -> int:
    """Exit code 1 where something didn't hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="one case, with what it printed")
    parser.add_argument("--cases", default="0:200", help="first and end")
    parser.add_argument("--only", default="", help="commands whose name has this")
    parser.add_argument("--each", action="store_true", help="cuts, encodings and types alone, of every file in turn")
    parser.add_argument("--sound", action="store_true", help="every command once, nothing changed")
    parser.add_argument("--serve", action="store_true", help="cases come on stdin, `SEED NUMBER` or a command's name")
    parser.add_argument("--keep", type=Path, help="folder to work in, which stays")
    options = parser.parse_args()
    with Server(options.keep) as server:
        if options.serve:
            return serve(server)
        first, end = map(int, options.cases.split(":"))
        numbers = range(first, end) if options.case is None else [options.case]
        draw = server.each if options.each else Case.drawn
        cases = map(sound, COMMANDS) if options.sound else (draw(options.seed, number) for number in numbers)
        return report([case for case in cases if options.only in case.command], server, whole=options.case is not None)


def report(cases: list[Case], server: Server, *, whole: bool) -> int:
    """Run cases, print those that fail, and count, be it until Ctrl-C."""
    started, areas, ends = time.monotonic(), Counter[str](), Counter[str]()
    for case in cases:
        try:
            result = server.run(case)
        except KeyboardInterrupt:
            break
        ends[result.ended.partition(" after ")[0]] += 1
        if result.problems:
            areas[result.area] += 1
            print(f"FAILED {result.title}\n  [{result.area}] {'; '.join(result.problems)}")
        if result.problems or whole:
            print("".join(f"  | {line}\n" for line in result.ended.splitlines()[-60:]), flush=True)
    print(f"How they ended: {dict(ends)}")
    print(f"{ends.total()} cases, {areas.total()} failed, {time.monotonic() - started:.0f} s: {dict(areas)}")
    return 1 if areas else 0


def serve(server: Server) -> int:
    """A line of JSON for each line that comes."""
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.strip()
        case = sound(name) if name in COMMANDS else Case.drawn(*map(int, name.split()))
        result: Result = server.run(case)
        print(result.as_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
