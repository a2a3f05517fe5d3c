"""The command ``early-exit``, which applies a chosen policy to new images.

Each subcommand is a module in this package with

``HELP``, ``EPILOG``
    A line that describes it, and the end of its help text.
``add_arguments(parser)``
    Adds its arguments.
``run(options) -> int``
    Runs it and returns the exit status. Its imports are inside, to keep ``--help`` fast.

To add one, write the module and add its name to ``COMMANDS``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from early_exit import __version__
from early_exit.errors import InputError
from early_exit.io.names import shown

COMMANDS = ("predict", "record", "check", "recalibrate", "policy", "explore", "new")

# Exit statuses. 1 is not used: Python exits with it after an uncaught exception.
FINE, NOTHING_DONE, DRIFT, SOME_BAD = 0, 2, 3, 4
# Exit statuses of a shell for programs that a signal ended.
INTERRUPTED, BROKEN_PIPE = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` and return the exit status."""
    options = _parser().parse_args(arguments)
    # As in the workflow, stop idle OpenMP threads spinning.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        status = import_module(f"early_exit.cli.{options.command}").run(options)
        sys.stdout.flush()
    except InputError as error:
        report(str(error))
    except ModuleNotFoundError as error:
        report(f"needs the package {error.name}; in a clone of the project: pip install '.[torch]'")
    except BrokenPipeError:
        # The reader closed the pipe. Redirect, so that Python does not complain at exit, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        report(f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    else:
        return status
    return NOTHING_DONE


def report(problem: str) -> None:
    """Print one line on standard error."""
    print(f"early-exit: {shown(problem)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="early-exit", description="Apply a chosen policy to new images."
    )
    parser.add_argument("--version", action="version", version=f"early-exit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"early_exit.cli.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser
