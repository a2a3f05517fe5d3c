"""``early-exit new``: adds a commented experiment to config.yaml, and code to begin with."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

from early_exit.cli.main import FINE

TEMPLATES = files("early_exit.cli") / "templates"
KINDS = sorted(
    path.name.removesuffix(".yaml") for path in TEMPLATES.iterdir() if path.name.endswith(".yaml")
)
# Where files of a template are written, by the names that the template has for them: FILE is the
# experiment's.
CODE = {"data": {"data_class.py": "own/FILE_data.py", "data_network.py": "own/FILE_network.py"}}
CONFIG = Path("config.yaml")
HELP = "Add a commented experiment to config.yaml."
EPILOG = """\
It is appended to config.yaml in the working folder; nothing else in the file changes. The kind data
also writes own/NAME_data.py and own/NAME_network.py, a data set and a network to begin with.

exit status: 0 the experiment was added, 2 nothing was done

  early-exit new mine folder
  early-exit new rows data
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: name and kind of the experiment."""
    parser.add_argument("name", metavar="NAME", help="name of the new experiment")
    parser.add_argument(
        "kind", metavar="KIND", help=f"template of the experiment: {', '.join(KINDS)}"
    )


def run(options: argparse.Namespace) -> int:
    """Write the experiment; returns the exit status."""
    import yaml

    from early_exit.config.parse import read_configuration
    from early_exit.config.scaffold import chosen_template, with_experiment
    from early_exit.errors import InputError
    from early_exit.io.files import replacing

    templates = {kind: (TEMPLATES / f"{kind}.yaml").read_text("utf-8") for kind in KINDS}
    template = chosen_template(options.kind, templates)
    schema = yaml.safe_load((files("early_exit.config") / "schema.yaml").read_text("utf-8"))
    if not CONFIG.exists():
        raise InputError(f"{CONFIG}: there is no such file here", "run this beside it")
    text = read_configuration(CONFIG)
    lines = text.replace("\r\n", "\n")
    end = "\r\n" if lines != text else "\n"
    if end != "\n" and lines.replace("\n", end) != text:
        raise InputError(
            f"{CONFIG}: mixes line endings", "convert them to one kind (dos2unix does)"
        )
    # A module's name has no dash.
    stem = options.name.replace("-", "_")
    new = with_experiment(lines, options.name, template.replace("FILE", stem), schema)
    code = {
        Path(path.replace("FILE", stem)): (TEMPLATES / name).read_text("utf-8")
        for name, path in CODE.get(options.kind, {}).items()
    }
    if present := [path for path in code if path.exists()]:
        raise InputError(f"{present[0]}: is there already", "move it away, or choose another name")
    for path, content in code.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    with replacing(CONFIG) as temporary:
        temporary.write_bytes(new.replace("\n", end).encode())
    written = "".join(f", and {path}" for path in code)
    print(f"Added the experiment {options.name} to {CONFIG}{written}. Edit its settings, then run")
    print(f"  snakemake --cores 4 --config run={options.name}")
    return FINE
