# The network: imported from a checkpoint, or trained on the train split.


rule network:
    """Target: the network of each experiment, imported or trained."""
    input:
        each("results/{experiment}/network/network.safetensors"),


rule import_network:
    """Load a checkpoint strictly, fetching it where it is missing, and keep its weights."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        checkpoint=checkpoint,
    output:
        network="results/{experiment}/network/network.safetensors",
    log:
        "results/{experiment}/logs/network.log",
    benchmark:
        "results/{experiment}/benchmarks/network.tsv"
    wildcard_constraints:
        experiment=names(lambda own: own["network"]["checkpoint"] is not None),
    conda:
        "../envs/environment.yaml"
    params:
        code=code("network_import", "networks.{network[name]}"),
        network=setting("network"),
        data_dir=data_dir,
    script:
        "../scripts/network_import.py"


rule train_network:
    """Train the network on the train split, all exits jointly."""
    input:
        manifest="results/{experiment}/data/manifest.json",
    output:
        network="results/{experiment}/network/network.safetensors",
        log="results/{experiment}/network/training.csv",
    log:
        "results/{experiment}/logs/network.log",
    benchmark:
        "results/{experiment}/benchmarks/network.tsv"
    wildcard_constraints:
        experiment=names(lambda own: own["network"]["checkpoint"] is None),
    conda:
        "../envs/environment.yaml"
    threads: threads("training/threads")
    resources:
        gpu=gpus("training"),
    params:
        code=code("network_train", "networks.{network[name]}", "datasets.{dataset[name]}"),
        network=setting("network"),
        dataset=dataset,
        training=lambda wildcards: {
            k: v for k, v in experiment(wildcards)["training"].items() if k != "threads"
        },
        seed=setting("seed"),
        data_dir=data_dir,
    script:
        "../scripts/network_train.py"
