"""Step cost: import the cost table of external records."""

from early_exit.io.files import sha256, write_json, write_table
from early_exit.policy.external_costs import read_external_costs
from job.record_inputs import read_external
from job.run import run_job


def main(snakemake):
    files = snakemake.input
    _, origin = read_external(files.manifest, "costs", files.table)
    costs, batches = read_external_costs(files.table)
    write_table(snakemake.output.costs, costs, origin)
    provenance = origin | {"costs": sha256(snakemake.output.costs)}
    write_json(snakemake.output.machine, {"identity": provenance, "simulated": True, **batches})


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
