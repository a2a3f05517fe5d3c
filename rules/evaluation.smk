# What was calibrated and chosen, on pictures that nothing was chosen by.


rule evaluate:
    """Target: the chosen policy of each experiment, on the test split; really run, or simulated."""
    input:
        each("results/{experiment}/evaluation/evaluation.json"),
        each("results/{experiment}/evaluation/operating_points.csv"),


rule evaluate_policy:
    """Run the chosen policy on the test split, samples leaving, and check it against the records."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
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
        "results/{experiment}/logs/evaluation.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluation.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/environment.yaml"
    # All of them: what runs beside it would be measured too.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        code=code(
            "evaluation",
            "networks.{network[name]}",
            "datasets.{dataset[name]}",
            "uncertainty.{measure}",
        ),
        dataset=dataset,
        timed_batches=setting("evaluation/timed_batches"),
        inference=setting("inference"),
        data_dir=data_dir,
    script:
        "../scripts/evaluation.py"


rule simulate_policy:
    """The chosen policy on the test split of records from elsewhere; there is no network to run."""
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
        "results/{experiment}/logs/evaluation_simulated.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluation_simulated.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("evaluation_simulated", "uncertainty.{measure}"),
    script:
        "../scripts/evaluation_simulated.py"


rule simulate_policies:
    """Every calibrated policy, and the whole network, on the test split's records."""
    input:
        points=calibrated,
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    output:
        points=report(
            "results/{experiment}/evaluation/operating_points.csv",
            caption="report/operating_points.rst",
            category="{experiment}",
            subcategory="tables",
        ),
    log:
        "results/{experiment}/logs/evaluation_points.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluation_points.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("evaluation_points", "uncertainty.{measure}"),
        stated=stated("operating_points"),
    script:
        "../scripts/evaluation_points.py"
