# Comparison of methods, measures and targets on many splits of the records. Not part of `all`: it
# takes minutes. No choice of the workflow depends on it.


include: "helpers/study.smk"


rule study:
    """Target: calibration methods compared on resampled splits, as table and figure."""
    input:
        kept("study"),


rule study_methods:
    """Run every method on many splits of the pooled records, with one measure, scaled or not."""
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
    """Summarise the study: accuracy at each target with intervals, gaps, missed targets, time."""
    input:
        runs=studied,
    output:
        study="results/{experiment}/study/study.csv",
    log:
        "results/{experiment}/logs/study_summary.log",
    benchmark:
        "results/{experiment}/benchmarks/study_summary.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("study_summary"),
    script:
        "../scripts/study_summary.py"
