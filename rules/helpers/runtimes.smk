# Inputs and params of the rules in runtimes.smk.


def code_of_runtimes(wildcards):
    """As `code_of_speed`, for the step runtimes: with the methods, one of which found the policy."""
    methods = [f"calibration.methods.{m}" for m in setting("calibration/methods")(wildcards)]
    plain = ["networks.zoo.{speed[plain]}"] if setting("speed/plain")(wildcards) else []
    named = (
        "networks.zoo.{network[name]}",
        "datasets.{dataset[name]}",
        "records.uncertainty.{measure}",
    )
    return code("runtimes", *named, *plain, *methods)(wildcards)
