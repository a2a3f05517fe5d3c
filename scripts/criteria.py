"""Step criteria: fit the parameters of exit criteria, on the calibration split."""

import numpy as np

from early_exit.calibration.criteria import fit_to, rows_to_fit
from early_exit.io.files import write_json
from early_exit.records.table import joined
from early_exit.records.uncertainty.measures import is_fitted, read
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    records, found = records_to_fit(inputs), {}
    for criterion in inputs.criteria():
        if is_fitted(criterion.measure):
            found[criterion.measure] = read(fit_to(records, criterion).parameters)
    content = {"parameters": found, "identity": inputs.provenance("records")}
    write_json(snakemake.output.parameters, content)


def records_to_fit(inputs):
    """The samples that parameters are fitted to; all logits may not fit in memory."""
    described = inputs.described()
    rows = rows_to_fit(len(inputs.records()), described["exits"], described["classes"])
    kept, start = [], 0
    for piece in inputs.pieces(logits=True):
        own = rows[(rows >= start) & (rows < start + len(piece))] - start
        kept.append(piece.select(np.asarray(own)))
        start += len(piece)
    return joined(kept)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
