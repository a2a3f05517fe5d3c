# How fast it really is, for batches of any size and in each precision. Not part of `all`: it takes
# minutes, and wants a quiet machine. `make bench` asks for it.


rule speed:
    """Target: the speed table of each experiment, with the check of predictions (`make bench`)."""
    input:
        with_network(
            "speed",
            "results/{experiment}/speed/speed.csv",
            "results/{experiment}/figures/speed.svg",
        ),


rule measure_speed:
    """Time the chosen policy against the whole network and its ideal; check the predictions."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        policy="results/{experiment}/selection/policy.json",
        calibration="results/{experiment}/exits/calibration.parquet",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    output:
        speed="results/{experiment}/speed/speed.csv",
        predicted="results/{experiment}/speed/predicted.csv",
        machine="results/{experiment}/speed/speed.json",
    log:
        "results/{experiment}/logs/speed.log",
    benchmark:
        "results/{experiment}/benchmarks/speed.tsv"
    conda:
        "../envs/environment.yaml"
    # All of them: what runs beside it would be measured too.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        code=code_of_speed,
        dataset=dataset,
        inference=setting("inference"),
        speed=setting("speed"),
        data_dir=data_dir,
    script:
        "../scripts/speed.py"


rule draw_speed:
    """Draw the speed table, and predicted against measured times."""
    input:
        speed="results/{experiment}/speed/speed.csv",
        predicted="results/{experiment}/speed/predicted.csv",
        machine="results/{experiment}/speed/speed.json",
    output:
        **figure_files("results/{experiment}/figures", ["speed"]),
    log:
        "results/{experiment}/logs/figures_speed.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_speed.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.speed"),
        figures=["speed"],
        stated=stated("speed"),
    script:
        "../scripts/figures.py"
