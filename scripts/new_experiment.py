"""`make new NAME=mine KIND=folder`: a commented experiment at the end of config.yaml."""

import sys
from pathlib import Path

import yaml

from early_exit.errors import InputError
from early_exit.experiments import chosen_template, with_experiment
from early_exit.files import replacing

SCRIPTS = Path(__file__).parent
CONFIG = Path("config.yaml")
USAGE = "give the new experiment a name: make new NAME=mine KIND={kinds}"


def main(arguments):
    templates = {
        path.stem: path.read_text(encoding="utf-8") for path in (SCRIPTS / "templates").iterdir()
    }
    if len(arguments) != 2 or not arguments[0]:
        raise InputError(USAGE.format(kinds="|".join(sorted(templates))))
    name, kind = arguments
    schema = yaml.safe_load((SCRIPTS.parent / "rules/config.schema.yaml").read_text("utf-8"))
    try:
        text = CONFIG.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{CONFIG}: {error.strerror}; run this beside it") from error
    new = with_experiment(text, name, chosen_template(kind, templates), schema)
    with replacing(CONFIG) as temporary:
        temporary.write_text(new, encoding="utf-8")
    print(f"{CONFIG} has the experiment {name}. Set what is yours in it, and run")
    print(f"  snakemake --cores 4 --config run={name}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
