"""Compare the CPU time of a request with that of an earlier commit, both measured in the same run.

Rounds are interleaved, and medians are taken; see ``benchmarks.ratios``. Run it with ``make against COMMIT=…``.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.contenders import Contender, contenders
from benchmarks.ratios import answer_of, awake, measure, micros, server_and_load_core

ROOT = Path(__file__).parents[1]
DEFAULT = (
    "fastmock, 10 rules$|bodies repeated$|stream of 20|tool call|from a schema|response, stored|Anthropic message"
    "|limited|metrics|journal|1,000 rules"
)


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check out a commit into a directory of its own."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def of_tree(contender: Contender, tree: Path) -> Contender:
    """Return a contender that runs the code of a tree; ``PYTHONSAFEPATH`` keeps the working directory out."""
    environment = {**contender.environment, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    return replace(contender, environment=environment, quiet=[], busy=[])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2, help="seconds of each measurement")
    parser.add_argument("--only", default=DEFAULT, help="measure only what matches this pattern")
    arguments = parser.parse_args()
    server_core, load_core = server_and_load_core()
    with checked_out(arguments.commit) as tree, tempfile.TemporaryDirectory() as name, awake():
        os.chdir(ROOT)
        found = contenders(Path(name), lambda command: answer_of(command, server_core))
        found = [one for one in found if one.name.startswith("fastmock") and re.search(arguments.only, one.name)]
        pairs = [(of_tree(one, tree), of_tree(one, ROOT)) for one in found]
        for round_ in range(arguments.rounds):
            for pair in pairs:
                for one in pair if round_ % 2 else pair[::-1]:
                    one.quiet.append(measure(one, server_core, load_core, arguments.seconds))
            print(f"round {round_ + 1} of {arguments.rounds}", flush=True)
    print(f"| CPU µs/request, {arguments.rounds} rounds | {arguments.commit} | now | median ratio (range) |")
    print("|---|---|---|---|")
    for before, now in pairs:
        ratios = sorted(new / old for (old, _), (new, _) in zip(before.quiet, now.quiet, strict=True))
        span = f"{median(ratios):.3f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
        print(f"| {now.name} | {micros(before.quiet):.1f} | {micros(now.quiet):.1f} | {span} |")


if __name__ == "__main__":
    main()
