"""Arguments shared by several subcommands. Imports nothing heavy, to keep ``--help`` fast."""

from __future__ import annotations

import argparse

# Pillow's hard limit.
MOST_PIXELS = 178_956_970


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the policy."""
    parser.add_argument(
        "--policy",
        required=True,
        metavar="FILE",
        help="results/X/selection/policy.json; other files of experiment X are found from there",
    )


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for new samples, and for running the network on them."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="an image file (AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF or WebP), a folder of them, or -"
        " for standard input; cropped at the centre and resized to the network's input. Of a data"
        " set of yours, a file that it reads",
    )
    forms = parser.add_argument_group("samples that are no image files")
    forms.add_argument(
        "--npz",
        metavar="FILE",
        help="arrays `inputs`, or `input_NAME`, `images`, each row a sample",
    )
    forms.add_argument(
        "--text",
        action="store_true",
        help="each line of INPUT, or of standard input, is a text that the data set prepares",
    )
    forms.add_argument(
        "--jsonl",
        action="store_true",
        help="each line of INPUT, or of standard input, is JSON that the data set prepares; without"
        " its doing so, the sample itself",
    )
    parser.add_argument(
        "--max-pixels",
        type=_pixels,
        metavar="N",
        help="skip images of more pixels (67108864); reading takes up to 16 bytes per pixel",
    )
    parser.add_argument(
        "--batch-size", type=_positive, default=32, metavar="N", help="samples per batch (32)"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="device (cpu)")
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (all)")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the argument for code that may be run."""
    parser.add_argument(
        "--trust-code",
        type=_class_in_file,
        action="append",
        default=[],
        metavar="FILE:CLASS",
        help="run this class as the network or the data set, where network.name or dataset.name is"
        " a class in a file (path/to/file.py:ClassName); no other code from files is run",
    )


def _class_in_file(text: str) -> str:
    path, _, name = text.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text} is not path/to/file.py:ClassName")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _pixels(text: str) -> int:
    number = _positive(text)
    if number > MOST_PIXELS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_PIXELS}, Pillow's limit")
    return number


def level(text: str) -> float:
    """A probability between 0 and 1, from an argument."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
