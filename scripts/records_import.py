"""Step exits: import a split of external records."""

from itertools import chain

from early_exit.records.external.read import open_external
from early_exit.records.parquet import write_pieces
from job.record_inputs import read_external
from job.run import run_job


def main(snakemake):
    files, split = snakemake.input, snakemake.wildcards.split
    manifest, origin = read_external(files.manifest, split, files.records)
    pieces = open_external(files.records, split, manifest["classes"]).pieces()
    first = next(pieces)
    own = {key: manifest[key] for key in ("span",) if key in manifest}
    provenance = first.provenance | origin | own
    optional = first.logits is not None, first.confidence is not None
    write_pieces(snakemake.output.records, chain([first], pieces), provenance, *optional)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
