"""Stage quality: how far each exit's probabilities can be trusted, on the test split."""

from early_exit.files import read_json, write_table
from early_exit.origin import check_same_origin
from early_exit.quality import of_exits
from stage_inputs import identity_of, origin, read_split
from stage_runner import run_stage


def main(snakemake):
    files = snakemake.input
    records = read_split(files.records, logits=True)
    check_same_origin((files.records, records.identity), origin(files.temperatures))
    temperatures = read_json(files.temperatures, ["temperatures"])["temperatures"]
    quality, reliability = of_exits(records, temperatures, snakemake.params.measures)
    identity = identity_of(records, files)
    write_table(snakemake.output.quality, quality, identity)
    write_table(snakemake.output.reliability, reliability, identity)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
