"""Stage figures: draw each figure from the tables that the job was given."""

from pathlib import Path

from early_exit.figures import save
from early_exit.files import read_json, read_table
from early_exit.origin import check_same_origin
from stage_runner import run_stage


def main(snakemake):
    tables = {
        name: read_json(path, ["identity"]) if path.endswith(".json") else read_table(path, [])
        for name, path in snakemake.input.items()
    }
    made_by = [
        (table if isinstance(table, dict) else table.attrs)["identity"] for table in tables.values()
    ]
    check_same_origin(*zip(snakemake.input, made_by, strict=True))
    tables["experiment"] = snakemake.wildcards.experiment
    for name in snakemake.params.figures:
        save(name, tables, Path(snakemake.output[0]).parent)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
