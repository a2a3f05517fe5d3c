# The chosen policy and its network, to take home: docs/deployment.md. Not part of `all`.


rule export:
    """Target: each experiment's network and policy as ONNX graphs with a runner, and checked."""
    input:
        with_network(
            "export",
            "results/{experiment}/export/manifest.json",
            "results/{experiment}/export/graphs",
            "results/{experiment}/export/comparison.json",
        ),


rule export_policy:
    """Write an ONNX graph for each stage and head, the policy, a manifest and a runner."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        policy="results/{experiment}/selection/policy.json",
    output:
        manifest="results/{experiment}/export/manifest.json",
        graphs=directory("results/{experiment}/export/graphs"),
        policy="results/{experiment}/export/policy.json",
        runner="results/{experiment}/export/runner.py",
        requirements="results/{experiment}/export/requirements.txt",
        readme="results/{experiment}/export/README.md",
    log:
        "results/{experiment}/logs/export.log",
    benchmark:
        "results/{experiment}/benchmarks/export.tsv"
    conda:
        "../envs/export.yaml"
    params:
        code=code("export", "deployed.runner", "networks.{network[name]}"),
        dataset=dataset,
    script:
        "../scripts/export.py"


rule check_export:
    """Run the export on the test split, hold it against the network under torch, and time both."""
    input:
        exported="results/{experiment}/export/manifest.json",
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/test.parquet",
    output:
        comparison="results/{experiment}/export/comparison.json",
    log:
        "results/{experiment}/logs/export_check.log",
    benchmark:
        "results/{experiment}/benchmarks/export_check.tsv"
    conda:
        "../envs/export.yaml"
    # All of them: what runs beside it would be measured too.
    threads: alone("inference/threads")
    params:
        code=code(
            "export_check",
            "deployed.runner",
            "networks.{network[name]}",
            "datasets.{dataset[name]}",
            "uncertainty.{measure}",
        ),
        dataset=dataset,
        inference=inference,
        data_dir=data_dir,
    script:
        "../scripts/export_check.py"
