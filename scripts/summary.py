"""Step summary: gather an experiment's headline figures."""

import sys

from early_exit.analysis.headline import headline
from early_exit.analysis.summary import summarise
from early_exit.io.files import write_json
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    summary = summarise(
        snakemake.wildcards.experiment,
        snakemake.params.network,
        inputs.manifest,
        inputs.records("calibration"),
        inputs.records("test"),
        inputs.json("policy", ("policy",)),
        inputs.json("evaluation", ("selected", "simulated")),
    )
    write_json(snakemake.output.summary, summary | {"identity": inputs.provenance("test")})
    if folder := snakemake.params.headline_folder:
        print(*headline(summary, folder), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
