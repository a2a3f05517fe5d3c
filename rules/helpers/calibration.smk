# Inputs and params of the rules in calibration.smk.


def calibrated(wildcards):
    """Tables of the experiment's calibration methods."""
    methods = experiment(wildcards)["calibration"]["methods"]
    return expand("results/{{experiment}}/calibration/{method}.csv", method=methods)
