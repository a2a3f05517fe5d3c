# External records: made outside this workflow, checked, and imported instead of running a network.


include: "helpers/records.smk"


rule describe_records:
    """Describe an experiment's external records, and check that they belong together."""
    input:
        calibration=external_file("calibration"),
        test=external_file("test"),
        costs=external_file("costs"),
        beside=costs_metadata,
    output:
        manifest="results/{experiment}/data/manifest.json",
    log:
        "results/{experiment}/logs/records_describe.log",
    benchmark:
        "results/{experiment}/benchmarks/records_describe.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("records_describe", "records.uncertainty.{measure}"),
        class_names=class_names,
        measure=measure_to_check,
        exit_rule=exit_rule_to_check,
    script:
        "../scripts/records_describe.py"


rule import_records:
    """Import a split of external records, with every value checked."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        records=external_file("{split}"),
    output:
        records="results/{experiment}/exits/{split}.parquet",
    log:
        "results/{experiment}/logs/records_{split}.log",
    benchmark:
        "results/{experiment}/benchmarks/records_{split}.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
        split="calibration|test",
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("records_import"),
    script:
        "../scripts/records_import.py"


rule import_costs:
    """Import the cost table of external records."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        table=external_file("costs"),
        beside=costs_metadata,
    output:
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    log:
        "results/{experiment}/logs/records_costs.log",
    benchmark:
        "results/{experiment}/benchmarks/records_costs.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("records_costs"),
    script:
        "../scripts/records_costs.py"


rule simulate_policy:
    """Simulate the chosen policy on the test split of external records."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    output:
        evaluation="results/{experiment}/evaluation/evaluation.json",
        samples="results/{experiment}/evaluation/samples.parquet",
        per_exit="results/{experiment}/evaluation/per_exit.csv",
        per_class="results/{experiment}/evaluation/per_class.csv",
    log:
        "results/{experiment}/logs/records_evaluate.log",
    benchmark:
        "results/{experiment}/benchmarks/records_evaluate.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("records_evaluate", "records.uncertainty.{measure}"),
    script:
        "../scripts/records_evaluate.py"
