"""The command ``early-exit``: a chosen policy at work on new pictures.

A subcommand is one module here with

``HELP``, ``EPILOG``
    What it does, in a line; and what its help says at the end.
``add_arguments(parser)``
    Its arguments.
``run(options) -> int``
    Do it; the exit status. What it needs is imported there, so that ``--help`` takes no time.

Adding one means one new module and its name in ``COMMANDS``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from early_exit import __version__
from early_exit.errors import InputError

COMMANDS = ("predict", "record", "check")

# Exit statuses.
FINE, SOME_BAD, NOTHING_DONE, DRIFT = range(4)
# As a shell says that a signal ended a program.
INTERRUPTED, BROKEN_PIPE = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments``; the exit status."""
    options = _parser().parse_args(arguments)
    # As in the workflow: idle threads sleep soon, or they slow everything else down.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        status = import_module(f"{__name__}.{options.command}").run(options)
        sys.stdout.flush()
    except InputError as error:
        tell(str(error))
    except ModuleNotFoundError as error:
        tell(f"needs the package {error.name}; `make setup`, then .venv/bin/early-exit has it")
    except BrokenPipeError:
        # Who read has read enough; nothing shall be said of it when Python ends, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        tell(f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    else:
        return status
    return NOTHING_DONE


def tell(problem: str) -> None:
    """A line on standard error."""
    print(f"early-exit: {problem}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="early-exit", description="A chosen policy at work on new pictures."
    )
    parser.add_argument("--version", action="version", version=f"early-exit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"{__name__}.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser
