# The data set's files: there, whole, and known by their checksums.


rule data:
    """Target: the data set of each experiment, downloaded where it is missing, and checked."""
    input:
        each("results/{experiment}/data/manifest.json"),


rule prepare_data:
    """Check the data set's files, download them where they are missing, and note what they are."""
    output:
        manifest="results/{experiment}/data/manifest.json",
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/environment.yaml"
    params:
        code=code("data", "datasets.{dataset[name]}"),
        dataset=dataset,
        held=held,
        mirrors=mirrors,
        data_dir=data_dir,
    script:
        "../scripts/data.py"


rule describe_records:
    """Note what an experiment's records from elsewhere are, and check that they belong together."""
    input:
        calibration=given_file("calibration"),
        test=given_file("test"),
        costs=given_file("costs"),
        beside=beside_costs,
    output:
        manifest="results/{experiment}/data/manifest.json",
    log:
        "results/{experiment}/logs/records_describe.log",
    benchmark:
        "results/{experiment}/benchmarks/records_describe.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("records_describe", "uncertainty.{measure}"),
        class_names=class_names,
        measure=asked_measure,
    script:
        "../scripts/records_describe.py"
