# The explorer: one HTML file in which thresholds are set and their effect is seen.


include: "helpers/explorer.smk"


rule explore:
    """Target: the explorer of each experiment, a page for the browser."""
    input:
        kept("explore"),


rule make_explorer:
    """Write the explorer, with the samples of both splits and thumbnails of some."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        points=calibrated,
        frontier=policies_of_frontier,
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/calibration.parquet",
        test="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        summary="results/{experiment}/summary.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        page=report(
            "results/{experiment}/explorer.html",
            caption="report/explorer.rst",
            category="{experiment}",
            subcategory="1 Result",
            labels={"result": "Explorer: set thresholds and see what they do"},
        ),
    log:
        "results/{experiment}/logs/explorer.log",
    benchmark:
        "results/{experiment}/benchmarks/explorer.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/environment.yaml"
    params:
        code=code("explorer", "datasets.{dataset[name]}", "records.uncertainty.{measure}"),
        page=page_files,
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
        cost=setting("calibration/cost"),
        dataset=dataset,
        data_dir=data_dir,
        folder=shown_folder,
    script:
        "../scripts/explorer.py"


use rule make_explorer as make_explorer_of_records with:
    wildcard_constraints:
        experiment=FROM_RECORDS,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("explorer", "records.uncertainty.{measure}"),
        # There are no images. Other params are those of the rule above.
        dataset=None,
        data_dir=None,
