# Inputs and params of the rules in speed.smk.


def code_of_speed(wildcards):
    """As `code`, for the step speed: with the network run as published, if `speed/plain` is set."""
    plain = ["networks.zoo.{speed[plain]}"] if setting("speed/plain")(wildcards) else []
    named = (
        "networks.zoo.{network[name]}",
        "datasets.{dataset[name]}",
        "records.uncertainty.{measure}",
    )
    return code("speed", *named, *plain)(wildcards)
