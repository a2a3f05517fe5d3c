"""A configuration that the schema allows is planned, by Snakemake itself."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from configurations import configurations

pytestmark = pytest.mark.thorough


@pytest.mark.faults
@settings(
    max_examples=4,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(config=configurations())
def test_every_configuration_of_the_schema_is_planned(project, config, tally):
    for own in [config.get("defaults", {}), *config["experiments"].values()]:
        # What is one's own would have to be there.
        network, dataset = own.get("network", {}), own.get("dataset", {})
        checkpoint = network.get("checkpoint") or {}
        if isinstance(checkpoint, str) or "urls" not in checkpoint:
            network["checkpoint"] = None
        if ":" in dataset.get("name", ""):
            dataset["name"] = "digits"
        if ":" in network.get("name", ""):
            network["name"] = "branchynet"
        for key in ("start_from", "teacher"):
            own.get("training", {}).pop(key, None)
        # Not every data set takes these, and what it takes is no matter of types.
        for key in ("path", "size", "test", "mean", "std", "arguments"):
            dataset.pop(key, None)
        if dataset.get("name") in ("folder", "npz"):
            dataset["name"] = "digits"
        # So would records; what is in them does not matter to a plan.
        for key in own.get("records") or {}:
            if key != "class_names":
                own["records"][key] = f"{key}.npz"
                (project.folder / f"{key}.npz").touch()
    project.configure(**config)
    assert project.planned()
    tally["configurations planned"] += 1
