# Inputs and params of the rules in replicates.smk.


def replicate_tables(wildcards):
    """Table of replicates of each experiment in `run`, and its page."""
    refuse_records("replicates")
    for name in CONFIGURATION.run:
        if name not in EXPERIMENTS:
            base = name.partition("@")[0]
            sys.exit(f"error: replicates: {name} is a replicate itself; use --config run={base}")
    files = ["replicates.csv", *shown("replicates")]
    return each("results/{experiment}/{file}", file=files)


def replicate_summaries(wildcards):
    """Summaries of the experiment with each seed."""
    seeds = range(experiment(wildcards)["replicates"])
    return [f"results/{wildcards.experiment}@{seed}/summary.json" for seed in seeds]
