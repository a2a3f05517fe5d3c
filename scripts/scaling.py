"""Stage scaling: how long calibration takes as samples grow."""

from early_exit.files import write_table
from early_exit.samples import Samples
from early_exit.scaling import measure
from stage_inputs import costs_of, identity_of, read_seen
from stage_runner import run_stage


def main(snakemake):
    params = snakemake.params
    records, sees = read_seen(snakemake.input, params)
    samples = Samples.of(records, sees)
    table = measure(samples, costs_of(snakemake.input), params.methods, params.sizes)
    write_table(snakemake.output.scaling, table, identity_of(records, snakemake.input))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
