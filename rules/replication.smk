# The published experiment, reproduced and corrected. Only for experiments with `replication: true`.


rule replicate:
    """Target: the published figures beside the reproduced and the corrected ones."""
    input:
        asking("results/{experiment}/replication.csv", "replication"),
        asking("results/{experiment}/figures/replication.svg", "replication"),


rule replicate_published:
    """Recompute the published figures from the records, with the published arithmetic."""
    input:
        calibration="results/{experiment}/exits/calibration.parquet",
        test="results/{experiment}/exits/test.parquet",
    output:
        replication=report(
            "results/{experiment}/replication.csv",
            caption="report/replication.rst",
            category="{experiment}",
            subcategory="tables",
        ),
    log:
        "results/{experiment}/logs/replication.log",
    benchmark:
        "results/{experiment}/benchmarks/replication.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("replication"),
        stated=stated("replication"),
    script:
        "../scripts/replication.py"


rule draw_replication:
    """Draw the published, the reproduced and the corrected figures side by side."""
    input:
        replication="results/{experiment}/replication.csv",
    output:
        **figure_files("results/{experiment}/figures", ["replication"]),
    log:
        "results/{experiment}/logs/figures_replication.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_replication.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.replication"),
        figures=["replication"],
        stated=stated("replication"),
    script:
        "../scripts/figures.py"
