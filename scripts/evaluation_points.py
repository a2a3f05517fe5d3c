"""Stage evaluation, from the records: every calibrated policy on the test split."""

from early_exit.evaluation import points_on_test
from early_exit.files import read_json, read_table, write_table
from early_exit.operating_point import OperatingPoint
from early_exit.origin import check_same_origin
from early_exit.policy import Policy
from stage_inputs import costs_of, identity_of, origin, read_split
from stage_runner import run_stage


def main(snakemake):
    files = snakemake.input
    policy = Policy.from_json(read_json(files.policy, ["policy"])["policy"], files.policy)
    records = read_split(files.records, logits=policy.needs_logits)
    tables = [read_table(path, OperatingPoint.COLUMNS) for path in files.points]
    made_by = [table.attrs["identity"] for table in tables]
    check_same_origin(
        (files.records, records.identity),
        origin(files.machine),
        origin(files.policy),
        *zip(files.points, made_by, strict=True),
    )
    points = points_on_test(tables, policy, records, costs_of(files))
    write_table(snakemake.output.points, points, identity_of(records, files))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
