"""Stage frontier, second part: the policies measured on the test split, from the records."""

from early_exit.files import read_table, write_table
from early_exit.frontier import on_test
from early_exit.operating_point import OperatingPoint
from early_exit.origin import check_same_origin
from stage_inputs import costs_of, identity_of, origin, read_seen
from stage_runner import run_stage


def main(snakemake):
    files = snakemake.input
    records, sees = read_seen(files, snakemake.params)
    chosen = read_table(files.policies, OperatingPoint.COLUMNS)
    identity = identity_of(records, files)
    check_same_origin(
        (files.records, records.identity),
        origin(files.machine),
        (files.policies, chosen.attrs["identity"]),
    )
    frontier = on_test(chosen, sees, records, costs_of(files))
    write_table(snakemake.output.frontier, frontier, identity)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
