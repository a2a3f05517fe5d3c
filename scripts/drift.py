"""Step drift: run the network over corrupted test images; measure ways to recalibrate."""

import numpy as np
import torch

from early_exit.analysis.drift_simulation import simulate_drift
from early_exit.datasets.corruptions import KINDS, STRENGTHS
from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.inference.exits import all_outputs
from early_exit.io.files import write_table
from early_exit.networks.checkpoint import load_network
from early_exit.records.table import from_logits
from job.engine import ready_to_run
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params, settings = RecordInputs(snakemake), snakemake.params, snakemake.params.drift
    engine, inference, _ = ready_to_run(params.inference, inputs)
    content, policy = inputs.json("policy", ("policy", "calibration", "cost")), inputs.policy()
    records, costs = inputs.records(criteria=[policy.criterion]), inputs.costs()
    network, _ = inputs.network(load_network)
    if "inputs" in inputs.manifest:
        raise InputError(
            f"drift: corruptions are for images, and {params.dataset['name']} has other inputs",
            "use early-exit check on records of samples that drifted",
        )
    rows = chosen(len(records), settings["images"])
    data = load_split(params.data_dir, "test", params.dataset, inputs.manifest)
    images = data.inputs[torch.from_numpy(rows)]
    clean, images = records.select(rows), images.numpy()
    # Its parts are made ready once, not for each corruption.
    network = engine.ready(network)

    def recorded(corrupted):
        """Records of corrupted images; one pass of the network."""
        tensor = torch.from_numpy(corrupted)
        logits, confidence = all_outputs(network, tensor, inference["batch_size"], engine)
        own = clean.index, clean.label, logits, inputs.provenance("records")
        found = from_logits(*own, whole=False, confidence=confidence)
        return found.without_logits(policy.criterion.key)

    corrupted = {
        (kind, strength + 1): recorded(KINDS[kind](images, strength))
        for kind in settings["kinds"]
        for strength in range(STRENGTHS)
    }
    table = simulate_drift(content, clean, corrupted, costs, settings["labels"], settings["draws"])
    write_table(snakemake.output.drift, table, inputs.provenance("records"))


def chosen(samples, most):
    """Indices of at most `most` samples, drawn at random with a fixed seed, in order."""
    if samples <= most:
        return np.arange(samples)
    return np.sort(np.random.default_rng(0).choice(samples, most, replace=False))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
