# Drift, simulated by corrupted test images, and recalibration. Not part of `all`: it runs the network
# again. No choice of the workflow depends on it.


include: "helpers/drift.smk"


rule drift:
    """Target: accuracy and cost on corrupted images, before and after recalibration."""
    input:
        with_network("drift"),
        kept("drift"),


rule simulate_drift:
    """Run the network over corrupted test images; measure the policy, recalibrated in several ways."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=graphs,
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    output:
        drift="results/{experiment}/drift/drift.csv",
    log:
        "results/{experiment}/logs/drift.log",
    benchmark:
        "results/{experiment}/benchmarks/drift.tsv"
    conda:
        "../envs/environment.yaml"
    threads: setting("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        trusted=trusted,
        code=code_of_drift,
        dataset=dataset,
        run_by=run_by,
        inference=inference,
        drift=setting("drift"),
        data_dir=data_dir,
    script:
        "../scripts/drift.py"
