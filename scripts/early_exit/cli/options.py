"""Arguments that several subcommands have. Imports nothing heavy: ``--help`` is quick."""

from __future__ import annotations

import argparse


def add_policy(parser: argparse.ArgumentParser) -> None:
    """The argument that names the policy."""
    parser.add_argument(
        "--policy",
        required=True,
        metavar="FILE",
        help="results/X/selection/policy.json; the other files of X are found from there",
    )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """The arguments that name pictures, and say how the network is run on them."""
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="a file in any format that Pillow reads, a folder of them, or - for one from standard"
        " input; cut from the centre and resized to what the network takes",
    )
    parser.add_argument(
        "--batch-size", type=_positive, default=32, metavar="N", help="pictures at a time (32)"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cpu by default")
    parser.add_argument("--threads", type=_positive, metavar="N", help="of the CPU (all)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def level(text: str) -> float:
    """A probability between 0 and 1."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
