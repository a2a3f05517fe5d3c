"""Stage frontier, first part: each method's policies for many budgets, by calibration alone."""

from early_exit.files import write_table
from early_exit.frontier import policies
from stage_inputs import costs_of, identity_of, read_seen
from stage_runner import run_stage


def main(snakemake):
    params = snakemake.params
    records, sees = read_seen(snakemake.input, params)
    settings, costs = params.frontier, costs_of(snakemake.input)
    table = policies(records, costs, sees, settings["methods"], settings["budgets"], params.delta)
    write_table(snakemake.output.policies, table, identity_of(records, snakemake.input))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
