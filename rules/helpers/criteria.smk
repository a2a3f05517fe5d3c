# Inputs and params of the rules in criteria.smk.
from early_exit.records.uncertainty import measures


@cache
def has_parameters(name):
    """Whether an experiment has exit criteria with parameters, and the logits to fit them."""
    fitted = any(measures.is_fitted(one) for one in CONFIGURATION.experiment(name)["measure"])
    return fitted and has_logits(name)


def parameters(wildcards):
    """Parameters of the exit criteria, if the experiment has any that need them; else nothing."""
    fitted = has_parameters(wildcards.experiment)
    return "results/{experiment}/criteria/parameters.json" if fitted else []
