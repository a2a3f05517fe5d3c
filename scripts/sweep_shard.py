"""Stage sweep, a shard of it: what a part of the samples do at each threshold, counted."""

import numpy as np
import pandas as pd

from early_exit.files import write_table
from stage_inputs import made_from, pieces_seen
from stage_runner import run_stage
from sweep import count_pieces, thresholds


def main(snakemake):
    files, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    part, parts = int(wildcards.shard), int(wildcards.shards)
    identity, sees, pieces = pieces_seen(files, params, part, parts)
    levels = np.concatenate(thresholds(identity, params))
    found = count_pieces(pieces, sees, levels)
    tables = [own.table().assign(exit_rule=rule.value) for rule, own in found.items()]
    counted = pd.concat(tables, ignore_index=True)
    write_table(snakemake.output.counts, counted, made_from(identity, files))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
