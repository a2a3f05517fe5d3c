# Inputs and params of the rules in baselines.smk.


def smaller_networks(wildcards):
    """Networks cut after each exit in `baselines/exits`, trained alone."""
    if experiment(wildcards)["inference"]["precision"] == "int8":
        sys.exit(
            f"error: config: experiments.{wildcards.experiment}.inference.precision: baselines are"
            " not quantized; set it to fp32 for them"
        )
    cuts = experiment(wildcards)["baselines"]["exits"]
    return expand("results/{{experiment}}/baselines/network_{cut}.safetensors", cut=cuts)
