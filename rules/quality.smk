# How far each exit's probabilities can be trusted. Nothing that the workflow chooses depends on it.


rule quality:
    """Target: reliability, calibration error and ranking of each exit, drawn."""
    input:
        asking_quality(),


rule measure_quality:
    """Each exit's reliability, calibration error and AUROC on test, with and without temperature."""
    input:
        records="results/{experiment}/exits/test.parquet",
        temperatures="results/{experiment}/temperature/temperatures.json",
    output:
        quality=report(
            "results/{experiment}/quality/quality.csv",
            caption="report/reliability.rst",
            category="{experiment}",
            subcategory="tables",
        ),
        reliability="results/{experiment}/quality/reliability.csv",
    log:
        "results/{experiment}/logs/quality.log",
    benchmark:
        "results/{experiment}/benchmarks/quality.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("quality", *[f"uncertainty.{measure}" for measure in MEASURES]),
        measures=MEASURES,
        stated=stated("reliability"),
    script:
        "../scripts/quality.py"


rule draw_quality:
    """Draw each exit's reliability diagram."""
    input:
        quality="results/{experiment}/quality/quality.csv",
        reliability="results/{experiment}/quality/reliability.csv",
    output:
        **figure_files("results/{experiment}/figures", ["reliability"]),
    log:
        "results/{experiment}/logs/figures_reliability.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_reliability.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.reliability"),
        figures=["reliability"],
        stated=stated("reliability"),
    script:
        "../scripts/figures.py"
