# What users would do instead of leaving early: a smaller network, the stages up to an exit with that
# exit's head, trained alone. Not part of `all`: it trains a network for each.


rule baselines:
    """Target: accuracy against time, of the policies and of smaller networks trained alone."""
    input:
        asking("results/{experiment}/figures/baselines.svg", "baselines/exits"),
        with_network("baselines"),


rule train_baseline:
    """Train the stages up to an exit with its head alone, by the experiment's own recipe."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        start=weights("training/start_from"),
        teacher=weights("training/teacher"),
    output:
        network="results/{experiment}/baselines/network_{cut}.safetensors",
        log="results/{experiment}/baselines/training_{cut}.csv",
    log:
        "results/{experiment}/logs/baseline_{cut}.log",
    benchmark:
        "results/{experiment}/benchmarks/baseline_{cut}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: threads("training/threads")
    resources:
        gpu=gpus("training"),
    params:
        code=code("network_train", "networks.{network[name]}", "datasets.{dataset[name]}"),
        network=trained_network,
        dataset=dataset,
        training=recipe,
        seed=setting("seed"),
        device=training_device,
        data_dir=data_dir,
    script:
        "../scripts/network_train.py"


rule measure_baselines:
    """Time the smaller networks and policies of every budget in turns, on the same pictures."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        baselines=smaller_networks,
        calibration="results/{experiment}/exits/calibration.parquet",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
    output:
        baselines="results/{experiment}/baselines/baselines.csv",
    log:
        "results/{experiment}/logs/baselines.log",
    benchmark:
        "results/{experiment}/benchmarks/baselines.tsv"
    conda:
        "../envs/environment.yaml"
    # All of them: what runs beside it would be measured too.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        code=code(
            "baselines",
            "networks.{network[name]}",
            "datasets.{dataset[name]}",
            "uncertainty.{measure}",
            "calibration.{baselines[method]}",
        ),
        dataset=dataset,
        inference=setting("inference"),
        baselines=setting("baselines"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
        data_dir=data_dir,
    script:
        "../scripts/baselines.py"


rule draw_baselines:
    """Draw accuracy against measured time: policies and smaller networks."""
    input:
        baselines="results/{experiment}/baselines/baselines.csv",
    output:
        **figure_files("results/{experiment}/figures", ["baselines"]),
    log:
        "results/{experiment}/logs/figures_baselines.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_baselines.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.baselines"),
        figures=["baselines"],
        stated=stated("baselines"),
    script:
        "../scripts/figures.py"
