# Accuracy against cost: every method at every budget, and what it is worth on new pictures.


rule frontier:
    """Target: accuracy against cost for all methods, drawn."""
    input:
        asking("results/{experiment}/figures/frontier.svg", "frontier/methods"),


rule find_frontier:
    """Each method's policies for many budgets, found on the calibration split alone."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
    output:
        policies="results/{experiment}/frontier/policies.csv",
    log:
        "results/{experiment}/logs/frontier_policies.log",
    benchmark:
        "results/{experiment}/benchmarks/frontier_policies.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code_of_methods("frontier_policies", "frontier/methods"),
        frontier=setting("frontier"),
        delta=setting("calibration/delta"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/frontier_policies.py"


rule measure_frontier:
    """The same policies on the test split's records."""
    input:
        policies="results/{experiment}/frontier/policies.csv",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
    output:
        frontier=report(
            "results/{experiment}/frontier/frontier.csv",
            caption="report/frontier.rst",
            category="{experiment}",
            subcategory="tables",
        ),
    log:
        "results/{experiment}/logs/frontier.log",
    benchmark:
        "results/{experiment}/benchmarks/frontier.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("frontier", "uncertainty.{measure}"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
        stated=stated("frontier"),
    script:
        "../scripts/frontier.py"


rule draw_frontier:
    """Draw accuracy against cost for all methods."""
    input:
        frontier="results/{experiment}/frontier/frontier.csv",
    output:
        **figure_files("results/{experiment}/figures", ["frontier"]),
    log:
        "results/{experiment}/logs/figures_frontier.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_frontier.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.frontier"),
        figures=["frontier"],
        stated=stated("frontier"),
    script:
        "../scripts/figures.py"
