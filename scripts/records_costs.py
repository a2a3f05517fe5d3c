"""Stage cost, for records from elsewhere: their cost table, as every other stage reads it."""

from early_exit.files import sha256, write_json, write_table
from early_exit.foreign_costs import read_foreign_costs
from stage_inputs import read_described
from stage_runner import run_stage


def main(snakemake):
    files = snakemake.input
    _, origin = read_described(files.manifest, "costs", files.table)
    costs, batches = read_foreign_costs(files.table)
    write_table(snakemake.output.costs, costs, origin)
    identity = origin | {"costs": sha256(snakemake.output.costs)}
    write_json(snakemake.output.machine, {"identity": identity, "simulated": True, **batches})


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
