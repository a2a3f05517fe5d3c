# Reliability of each exit's probabilities. No choice of the workflow depends on it.

# Measures of the class probabilities, without parameters.
PLAIN = ["entropy", "max_probability", "margin"]


rule reliability:
    """Target: reliability, calibration error and AUROC of each exit, as tables and figure."""
    input:
        kept("reliability"),


rule measure_reliability:
    """Measure each exit's calibration error and AUROC on test, with and without temperature."""
    input:
        records="results/{experiment}/exits/test.parquet",
        temperatures="results/{experiment}/temperature/temperatures.json",
    output:
        exits="results/{experiment}/reliability/exits.csv",
        bins="results/{experiment}/reliability/bins.csv",
    log:
        "results/{experiment}/logs/reliability.log",
    benchmark:
        "results/{experiment}/benchmarks/reliability.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("reliability", *[f"records.uncertainty.{measure}" for measure in PLAIN]),
        measures=PLAIN,
    script:
        "../scripts/reliability.py"
