# Inputs and params of the rules in drift.smk.


def code_of_drift(wildcards):
    """As `code`, for the step drift: any of the experiment's methods may have found the policy."""
    methods = [f"calibration.methods.{m}" for m in setting("calibration/methods")(wildcards)]
    named = (
        "networks.zoo.{network[name]}",
        "datasets.{dataset[name]}",
        "records.uncertainty.{measure}",
    )
    return code("drift", *named, *methods)(wildcards)
