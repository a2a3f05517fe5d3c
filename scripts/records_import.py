"""Stage exits, for records from elsewhere: a split of them, as every other stage reads it."""

from dataclasses import replace

from early_exit.foreign import read_foreign
from early_exit.records import write_records
from stage_inputs import read_described
from stage_runner import run_stage


def main(snakemake):
    files, split = snakemake.input, snakemake.wildcards.split
    manifest, origin = read_described(files.manifest, split, files.records)
    records = read_foreign(files.records, split, manifest["classes"])
    own = {key: manifest[key] for key in ("measure", "span") if key in manifest}
    identity = records.identity | origin | own
    write_records(snakemake.output.records, replace(records, identity=identity))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
