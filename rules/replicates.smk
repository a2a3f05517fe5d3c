# The same experiment with the seeds 0, 1, ..., each trained on its own, and how much they differ.


rule replicates:
    """Target: each experiment with several seeds, in one table with intervals."""
    input:
        replicate_tables,


rule gather_replicates:
    """Gather the summaries of an experiment's replicates: mean, deviation and interval."""
    input:
        summaries=replicate_summaries,
    output:
        table=report(
            "results/{experiment}/replicates.csv",
            caption="report/replicates.rst",
            category="{experiment}",
            subcategory="tables",
        ),
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
