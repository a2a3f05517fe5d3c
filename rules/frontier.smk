# Accuracy against cost: policies of every method at every budget, evaluated on the test split.


include: "helpers/frontier.smk"


rule frontier:
    """Target: accuracy against cost for all methods, as table and figure (drawn by draw_figure)."""
    input:
        kept("frontier"),


rule find_frontier:
    """Find a method's policies for many budgets, on the calibration split."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        policies="results/{experiment}/frontier/methods/{method}.csv",
    log:
        "results/{experiment}/logs/frontier_method_{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/frontier_method_{method}.tsv"
    priority: BEFORE_SELECTION
    conda:
        "../envs/analysis.yaml"
    params:
        code=code(
            "frontier_policies", "calibration.methods.{method}", "records.uncertainty.{measure}"
        ),
        budgets=setting("frontier/budgets"),
        delta=setting("calibration/delta"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/frontier_policies.py"


rule find_references:
    """Find the references for the methods: the published method and the full network."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        policies="results/{experiment}/frontier/references.csv",
    log:
        "results/{experiment}/logs/frontier_references.log",
    benchmark:
        "results/{experiment}/benchmarks/frontier_references.tsv"
    priority: BEFORE_SELECTION
    conda:
        "../envs/analysis.yaml"
    params:
        code=code(
            "frontier_references",
            "calibration.methods.percentile",
            "records.uncertainty.{measure}",
        ),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/frontier_references.py"


rule join_frontier:
    """Join the policies of all methods and references in one table."""
    input:
        methods=frontier_methods,
        references="results/{experiment}/frontier/references.csv",
    output:
        policies="results/{experiment}/frontier/policies.csv",
    log:
        "results/{experiment}/logs/frontier_policies.log",
    benchmark:
        "results/{experiment}/benchmarks/frontier_policies.tsv"
    priority: BEFORE_SELECTION
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("frontier_join"),
    script:
        "../scripts/frontier_join.py"


rule measure_frontier:
    """Evaluate the policies on the test split's records."""
    input:
        policies="results/{experiment}/frontier/policies.csv",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        frontier="results/{experiment}/frontier/frontier.csv",
    log:
        "results/{experiment}/logs/frontier.log",
    benchmark:
        "results/{experiment}/benchmarks/frontier.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("frontier", "records.uncertainty.{measure}"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/frontier.py"
