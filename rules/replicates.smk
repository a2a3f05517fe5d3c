# Replicates: the same experiment trained with the seeds 0, 1, ..., and their spread.


include: "helpers/replicates.smk"


rule replicates:
    """Target: the results of each experiment with several seeds, in one table with intervals."""
    input:
        replicate_tables,
        kept("replicates"),


rule gather_replicates:
    """Gather the summaries of an experiment's replicates: mean, deviation and interval."""
    input:
        summaries=replicate_summaries,
    output:
        table="results/{experiment}/replicates.csv",
    log:
        "results/{experiment}/logs/replicates.log",
    benchmark:
        "results/{experiment}/benchmarks/replicates.tsv"
    wildcard_constraints:
        experiment="|".join(EXPERIMENTS),
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("replicates"),
    script:
        "../scripts/replicates.py"
