# Evaluation of the policies on the test split, which is not used to choose anything.


rule evaluate:
    """Target: the chosen policy of each experiment on the test split, run or simulated."""
    input:
        kept("evaluate"),


rule evaluate_policy:
    """Run the chosen policy on the test split, check it against the records, and time it."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=graphs,
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
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        trusted=trusted,
        code=code(
            "evaluation",
            "networks.zoo.{network[name]}",
            "datasets.{dataset[name]}",
            "records.uncertainty.{measure}",
        ),
        dataset=dataset,
        timed_batches=setting("evaluation/timed_batches"),
        inference=setting("inference"),
        data_dir=data_dir,
    script:
        "../scripts/evaluation.py"


rule simulate_policies:
    """Simulate every calibrated policy, and the full network, from the test split's records."""
    input:
        points=calibrated,
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        points="results/{experiment}/evaluation/operating_points.csv",
    log:
        "results/{experiment}/logs/evaluation_points.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluation_points.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("evaluation_points", "records.uncertainty.{measure}"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/evaluation_points.py"
