# The network, imported from a checkpoint or trained on the train split.


include: "helpers/network.smk"


rule network:
    """Target: the network of each experiment, imported or trained."""
    input:
        with_network("network"),
        kept("network"),


rule ship:
    """Target: the trained network of each experiment, copied to checkpoints/ with its card."""
    input:
        shipped,
        again_without("results/{experiment}/network/shipped.json", shipped_files),
        kept("ship"),


rule import_network:
    """Import a checkpoint, loaded strictly and downloaded if missing."""
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
        code=code("network_import", "networks.zoo.{network[name]}"),
        network=setting("network"),
        dataset=dataset,
        measure=measure_to_check,
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
    threads: setting("training/threads")
    resources:
        gpu=gpus("training"),
    params:
        trusted=trusted,
        code=code("network_train", "networks.zoo.{network[name]}", "datasets.{dataset[name]}"),
        network=trained_network,
        dataset=dataset,
        training=recipe,
        start_key=start_key,
        seed=setting("seed"),
        measure=measure_to_check,
        device=training_device,
        threads=training_threads,
        data_dir=data_dir,
    script:
        "../scripts/network_train.py"


rule ship_network:
    """Copy a trained network to checkpoints/, with its training log and a card.

    Files in checkpoints/ are not outputs, or experiments that use them would train them again. To
    ship again, add `--forcerun ship_network`.
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
        trusted=trusted,
        code=code("network_ship", "networks.zoo.{network[name]}"),
        stem=checkpoint_stem,
    script:
        "../scripts/network_ship.py"
