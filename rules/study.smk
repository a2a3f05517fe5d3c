# Methods, measures and targets compared on many splits of the records. Not part of `all`: it takes
# minutes. Nothing that the workflow chooses depends on it.


rule study:
    """Target: calibration methods compared on resampled splits, a table and a figure."""
    input:
        each("results/{experiment}/study/study.csv"),
        each("results/{experiment}/figures/study.svg"),


rule study_methods:
    """Every method on many splits of the pooled records, by one measure, scaled or not."""
    input:
        calibration="results/{experiment}/exits/calibration.parquet",
        test="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    output:
        runs="results/{experiment}/study/{measure}_{scaling}.csv",
    log:
        "results/{experiment}/logs/study_{measure}_{scaling}.log",
    benchmark:
        "results/{experiment}/benchmarks/study_{measure}_{scaling}.tsv"
    wildcard_constraints:
        scaling="plain|scaled",
    conda:
        "../envs/analysis.yaml"
    params:
        code=code_of_methods("study", "study/methods"),
        study=study_settings,
        delta=setting("calibration/delta"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/study.py"


rule summarise_study:
    """Gather the study: accuracy at each target with intervals, gaps, missed targets, seconds."""
    input:
        studied,
    output:
        study=report(
            "results/{experiment}/study/study.csv",
            caption="report/study.rst",
            category="{experiment}",
            subcategory="tables",
        ),
    log:
        "results/{experiment}/logs/study_summary.log",
    benchmark:
        "results/{experiment}/benchmarks/study_summary.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("study_summary"),
        stated=stated("study"),
    script:
        "../scripts/study_summary.py"


rule draw_study:
    """Draw the study."""
    input:
        study="results/{experiment}/study/study.csv",
    output:
        **figure_files("results/{experiment}/figures", ["study"]),
    log:
        "results/{experiment}/logs/figures_study.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_study.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.study"),
        figures=["study"],
        stated=stated("study"),
    script:
        "../scripts/figures.py"
