"""Step evaluation: simulate the chosen policy on external records; no network is run."""

from early_exit.analysis.evaluation import (
    evaluate,
    names_of_classes,
    per_class,
    per_exit,
    samples_table,
    simulated,
)
from early_exit.io.files import replacing, write_json, write_table
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    policy, costs = inputs.policy(), inputs.costs()
    records = inputs.records(criteria=[policy.criterion])
    run = simulated(policy, records)
    result = evaluate(policy, records, run, None, costs, None)
    provenance = inputs.provenance("records")
    with replacing(snakemake.output.samples) as temporary:
        samples_table(records, run).to_parquet(temporary, index=False)
    write_table(snakemake.output.per_exit, per_exit(policy, records, run, costs), provenance)
    names = names_of_classes(records, inputs.manifest["class_names"])
    write_table(snakemake.output.per_class, per_class(records, run, names), provenance)
    content = result | {"doubt": None, "timing": None, "identity": provenance}
    write_json(snakemake.output.evaluation, content)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
