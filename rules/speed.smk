# Measured speed by batch size and precision. Not part of `all`: it takes minutes, and needs an idle
# machine. `make bench` runs it.


include: "helpers/speed.smk"


rule speed:
    """Target: the speed table of each experiment, and the check of predicted times."""
    input:
        with_network("speed"),
        kept("speed"),


rule measure_speed:
    """Time the chosen policy against the full network and its ideal; check the predicted times."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=graphs,
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
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        trusted=trusted,
        code=code_of_speed,
        dataset=dataset,
        inference=setting("inference"),
        speed=setting("speed"),
        data_dir=data_dir,
    script:
        "../scripts/speed.py"
