# Inputs and params of the rules in temperature.smk.


def temperatures(wildcards):
    """Temperatures of the exits, if the experiment scales logits; else nothing."""
    scaled = experiment(wildcards)["temperature_scaling"]
    if scaled and not has_logits(wildcards.experiment):
        sys.exit(
            f"error: config: experiments.{wildcards.experiment}.temperature_scaling: the records"
            " have no logits to scale; set it to false"
        )
    return "results/{experiment}/temperature/temperatures.json" if scaled else []
