# Headline figures of an experiment.


include: "helpers/summary.smk"


rule summarise:
    """Target: the summary of each experiment."""
    input:
        kept("summarise"),


rule write_summary:
    """Gather an experiment's headline figures."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        policy="results/{experiment}/selection/policy.json",
        evaluation="results/{experiment}/evaluation/evaluation.json",
        calibration="results/{experiment}/exits/calibration.parquet",
        test="results/{experiment}/exits/test.parquet",
    output:
        summary="results/{experiment}/summary.json",
    log:
        "results/{experiment}/logs/summary.log",
    benchmark:
        "results/{experiment}/benchmarks/summary.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("summary"),
        network=network_name,
        headline_folder=headline_folder,
    script:
        "../scripts/summary.py"
