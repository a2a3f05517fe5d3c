# The published experiment, reproduced and corrected. For experiments with `reproduction: true`.


rule reproduce:
    """Target: the published figures beside the reproduced and the corrected ones."""
    input:
        kept("reproduce"),


rule reproduce_published:
    """Recompute the published figures from the records, with the published arithmetic."""
    input:
        calibration="results/{experiment}/exits/calibration.parquet",
        test="results/{experiment}/exits/test.parquet",
    output:
        reproduction="results/{experiment}/reproduction.csv",
    log:
        "results/{experiment}/logs/reproduction.log",
    benchmark:
        "results/{experiment}/benchmarks/reproduction.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("reproduction"),
    script:
        "../scripts/reproduction.py"
