# The network: imported from a checkpoint, or trained on the train split.


rule network:
    """Target: the network of each experiment, imported or trained."""
    input:
        with_network("network", "results/{experiment}/network/network.safetensors"),


rule ship:
    """Target: the trained network of each experiment, put into checkpoints/ with its card."""
    input:
        shipped,


rule import_network:
    """Load a checkpoint strictly, fetching it where it is missing, and keep its weights."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        checkpoint=weights("network/checkpoint"),
    output:
        network="results/{experiment}/network/network.safetensors",
    log:
        "results/{experiment}/logs/network.log",
    benchmark:
        "results/{experiment}/benchmarks/network.tsv"
    wildcard_constraints:
        experiment=IMPORTED,
    conda:
        "../envs/environment.yaml"
    params:
        code=code("network_import", "networks.{network[name]}"),
        network=setting("network"),
        dataset=dataset,
        data_dir=data_dir,
    script:
        "../scripts/network_import.py"


rule train_network:
    """Train the network on the train split, all exits jointly."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        start=weights("training/start_from"),
        teacher=weights("training/teacher"),
    output:
        network="results/{experiment}/network/network.safetensors",
        log="results/{experiment}/network/training.csv",
    log:
        "results/{experiment}/logs/network.log",
    benchmark:
        "results/{experiment}/benchmarks/network.tsv"
    wildcard_constraints:
        experiment=TRAINED,
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


rule ship_network:
    """Put a trained network into checkpoints/, with the log of its training and a card.

    What lies in checkpoints/ is no output, or experiments that use it would train it again. To ship
    once more, add `--forcerun ship_network`.
    """
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        log="results/{experiment}/network/training.csv",
        calibration="results/{experiment}/exits/calibration.parquet",
        test="results/{experiment}/exits/test.parquet",
    output:
        shipped="results/{experiment}/network/shipped.json",
    log:
        "results/{experiment}/logs/network_ship.log",
    benchmark:
        "results/{experiment}/benchmarks/network_ship.tsv"
    wildcard_constraints:
        experiment=TRAINED,
    conda:
        "../envs/environment.yaml"
    params:
        code=code("network_ship", "networks.{network[name]}"),
        stem=checkpoint_stem,
    script:
        "../scripts/network_ship.py"
