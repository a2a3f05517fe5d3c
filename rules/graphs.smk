# ONNX graphs of a network, for runtimes other than torch, and the same in int8.


include: "helpers/graphs.smk"


rule quantize:
    """Target: graphs in int8 of each experiment's network, calibrated on its train split."""
    input:
        with_network("quantize"),
        kept("quantize"),


rule write_graphs:
    """Write an ONNX graph of each stage and each head."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
    output:
        graphs="results/{experiment}/graphs/graphs.json",
        parts=directory("results/{experiment}/graphs/parts"),
    log:
        "results/{experiment}/logs/graphs.log",
    benchmark:
        "results/{experiment}/benchmarks/graphs.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/export.yaml"
    params:
        trusted=trusted,
        code=code("graphs", "networks.zoo.{network[name]}"),
        dataset=dataset,
    script:
        "../scripts/graphs.py"


rule quantize_graphs:
    """Quantize the graphs that keep the accuracy; the others stay in fp32."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs="results/{experiment}/graphs/graphs.json",
    output:
        graphs="results/{experiment}/quantize/graphs.json",
        parts=directory("results/{experiment}/quantize/parts"),
    log:
        "results/{experiment}/logs/quantize.log",
    benchmark:
        "results/{experiment}/benchmarks/quantize.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/export.yaml"
    threads: setting("inference/threads")
    params:
        trusted=trusted,
        code=code("quantize", "networks.zoo.{network[name]}", "datasets.{dataset[name]}"),
        dataset=dataset,
        quantization=setting("quantization"),
        inference=inference,
        data_dir=data_dir,
    script:
        "../scripts/quantize.py"
