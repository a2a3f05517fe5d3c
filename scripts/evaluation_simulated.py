"""Stage evaluation, for records from elsewhere: the chosen policy on them; no network is run."""

from early_exit.evaluation import (
    evaluate,
    names_of_classes,
    per_class,
    per_exit,
    samples_table,
    simulated,
)
from early_exit.files import read_json, replacing, write_json, write_table
from early_exit.origin import check_same_origin
from early_exit.policy import Policy
from stage_inputs import costs_of, identity_of, origin, read_split
from stage_runner import read_manifest, run_stage


def main(snakemake):
    files = snakemake.input
    policy = Policy.from_json(read_json(files.policy, ["policy"])["policy"], files.policy)
    records = read_split(files.records, logits=policy.needs_logits)
    manifest, described = read_manifest(files.manifest)
    check_same_origin(
        (files.records, records.identity),
        described,
        origin(files.machine),
        origin(files.policy),
    )
    costs = costs_of(files)
    run = simulated(policy, records)
    result = evaluate(policy, records, run, None, costs, None)
    identity = identity_of(records, files)
    with replacing(snakemake.output.samples) as temporary:
        samples_table(records, run).to_parquet(temporary, index=False)
    write_table(snakemake.output.per_exit, per_exit(policy, records, run, costs), identity)
    names = names_of_classes(records, manifest["class_names"])
    write_table(snakemake.output.per_class, per_class(records, run, names), identity)
    content = result | {"doubt": None, "timing": None, "identity": identity}
    write_json(snakemake.output.evaluation, content)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
