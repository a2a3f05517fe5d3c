"""Step sweep: count exits and correct samples of a shard at each threshold."""

import numpy as np
import pandas as pd

from early_exit.io.files import write_table
from job.record_inputs import RecordInputs
from job.run import run_job
from sweep import count_pieces, thresholds, with_span


def main(snakemake):
    inputs, wildcards = RecordInputs(snakemake), snakemake.wildcards
    criterion, shard = inputs.criterion(), (int(wildcards.shard), int(wildcards.shards))
    described = with_span(inputs, criterion)
    levels = np.concatenate(thresholds(described, criterion.measure, snakemake.params))
    pieces = inputs.pieces("records", criterion.needs_logits, *shard)
    found = count_pieces(pieces, criterion, described["exits"], levels)
    tables = [own.table().assign(exit_rule=rule.value) for rule, own in found.items()]
    counted = pd.concat(tables, ignore_index=True)
    write_table(snakemake.output.counts, counted, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
