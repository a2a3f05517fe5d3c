# Draw the figures (SVG, PNG), write their captions (text), and the pages of the report (HTML).


include: "helpers/figures.smk"


# Inputs of each figure, relative to the experiment's folder. Keys are the names that its module in
# scripts/early_exit/figures/ uses.
FIGURES = {
    "sweep": {
        "sweep": "sweep/test.csv",
        "points": "evaluation/operating_points.csv",
        "summary": "summary.json",
    },
    "operating_points": {
        "points": "evaluation/operating_points.csv",
        "summary": "summary.json",
    },
    "targets": {
        "points": "evaluation/operating_points.csv",
        "summary": "summary.json",
    },
    "exit_shares": {
        "points": "evaluation/operating_points.csv",
        "summary": "summary.json",
    },
    "exit_accuracy": {
        "per_exit": "evaluation/per_exit.csv",
        "summary": "summary.json",
    },
    "per_class": {
        "per_class": "evaluation/per_class.csv",
        "summary": "summary.json",
    },
    "uncertainty": {
        "uncertainty": "selection/uncertainty.csv",
        "summary": "summary.json",
    },
    "cost": {
        "costs": "cost/cost.csv",
        "machine": "cost/cost.json",
        "summary": "summary.json",
    },
    "learning_curve": {"training": "network/training.csv"},
    "frontier": {"frontier": "frontier/frontier.csv", "summary": "summary.json"},
    "attainable": {"policies": "frontier/policies.csv"},
    "methods": {"frontier": "frontier/frontier.csv"},
    "reliability": {
        "exits": "reliability/exits.csv",
        "bins": "reliability/bins.csv",
    },
    "reproduction": {"reproduction": "reproduction.csv"},
    "study": {"study": "study/study.csv"},
    "scalability": {"scalability": "scalability/scalability.csv"},
    "speed": {
        "speed": "speed/speed.csv",
        "predicted": "speed/predicted.csv",
        "machine": "speed/speed.json",
    },
    "latency": {"latency": "latency/latency.csv", "machine": "cost/cost.json"},
    "runtimes": {"runtimes": "runtimes/runtimes.csv"},
    "drift": {"drift": "drift/drift.csv"},
    "baselines": {"baselines": "baselines/baselines.csv"},
}
# Titles in the report, and where each figure is in it, in the order of the story. The report sorts by
# name, so that names have numbers.
STORY = {
    "2 What it gets": {
        "frontier": "Accuracy against cost",
        "operating_points": "Calibrated policies",
        "targets": "Asked for and obtained",
        "exit_shares": "Where samples exit",
        "samples": "Samples that exit at each exit",
    },
    "3 Why": {
        "exit_accuracy": "Accuracy of each exit",
        "uncertainty": "Uncertainty, right and wrong",
        "cost": "Cost by stage and head",
        "per_class": "Classes",
        "sweep": "One threshold for all exits",
        "reliability": "Reliability of the probabilities",
        "learning_curve": "Training",
    },
    "4 Compared": {
        "methods": "Calibration methods",
        "attainable": "What can be asked for",
        "baselines": "Early exits or a smaller network",
        "speed": "Measured speed",
        "latency": "Latency of single samples",
        "runtimes": "Backends and precisions",
        "drift": "Drift and recalibration",
        "study": "Methods on many splits",
        "scalability": "Calibration time",
        "reproduction": "The published experiment",
    },
}
# Tables shown in the report: the file, relative to the experiment's folder, and the title.
TABLES = {
    "operating_points": ("evaluation/operating_points.csv", "Calibrated policies"),
    "per_exit": ("evaluation/per_exit.csv", "Exits under the chosen policy"),
    "per_class": ("evaluation/per_class.csv", "Classes under the chosen policy"),
    "cost": ("cost/cost.csv", "Cost by stage and head"),
    "frontier": ("frontier/frontier.csv", "Frontier"),
    "reliability": ("reliability/exits.csv", "Reliability of the exits"),
    "reproduction": ("reproduction.csv", "The published experiment"),
    "study": ("study/study.csv", "Study of the methods"),
    "drift": ("drift/drift.csv", "Drift"),
    "speed": ("speed/speed.csv", "Measured speed"),
    "latency": ("latency/latency.csv", "Latency of single samples"),
    "runtimes": ("runtimes/runtimes.csv", "Backends and precisions"),
    "baselines": ("baselines/baselines.csv", "Smaller networks"),
    "scalability": ("scalability/scalability.csv", "Calibration time"),
    "replicates": ("replicates.csv", "Replicates"),
}
# Figures and tables of the target `figures`; the others belong to the targets of their steps.
OF_EACH_EXPERIMENT = [
    *("sweep", "operating_points", "targets", "exit_shares", "exit_accuracy", "per_class"),
    *("uncertainty", "cost"),
]
# By the names that the script uses.
TABLES_OF_EACH = {
    "points": "operating_points",
    "per_exit": "per_exit",
    "per_class": "per_class",
    "costs": "cost",
}


rule figures:
    """Target: the figures of each experiment."""
    input:
        kept("figures"),


rule draw_figure:
    """Draw a figure from its tables; only the SVG goes into the report."""
    input:
        unpack(drawn_from),
    output:
        svg=report(
            "results/{experiment}/figures/{figure}.svg",
            caption="report/figure.rst",
            category="{experiment}",
            subcategory=chapter,
            labels=title_of_figure,
        ),
        png="results/{experiment}/figures/{figure}.png",
        txt="results/{experiment}/figures/{figure}.txt",
    log:
        "results/{experiment}/logs/figures_{figure}.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_{figure}.tsv"
    wildcard_constraints:
        figure="|".join(FIGURES),
    priority: BEFORE_SELECTION
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.{figure}"),
        published=of_published_network,
    script:
        "../scripts/figures.py"


rule draw_samples:
    """Draw some of the samples that exit at each exit."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/test.parquet",
    output:
        svg=report(
            "results/{experiment}/figures/samples.svg",
            caption="report/figure.rst",
            category="{experiment}",
            subcategory=chapter,
            labels=title_of_figure,
        ),
        png="results/{experiment}/figures/samples.png",
        txt="results/{experiment}/figures/samples.txt",
    log:
        "results/{experiment}/logs/samples.log",
    benchmark:
        "results/{experiment}/benchmarks/samples.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/environment.yaml"
    params:
        code=code("samples", "datasets.{dataset[name]}", "records.uncertainty.{measure}"),
        dataset=dataset,
        data_dir=data_dir,
    script:
        "../scripts/samples.py"


rule write_pages:
    """Write the page that the report opens on, and those of the tables behind it."""
    input:
        summary="results/{experiment}/summary.json",
        per_exit="results/{experiment}/evaluation/per_exit.csv",
        points="results/{experiment}/evaluation/operating_points.csv",
        per_class="results/{experiment}/evaluation/per_class.csv",
        costs="results/{experiment}/cost/cost.csv",
    output:
        overview=report(
            "results/{experiment}/overview.html",
            caption="report/overview.rst",
            category="{experiment}",
            subcategory="1 Result",
            labels={"result": "Headline, thresholds, policies, classes"},
        ),
        points=page("operating_points"),
        per_exit=page("per_exit"),
        per_class=page("per_class"),
        costs=page("cost"),
    log:
        "results/{experiment}/logs/pages.log",
    benchmark:
        "results/{experiment}/benchmarks/pages.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("pages"),
        titles={name: TABLES[table][1] for name, table in TABLES_OF_EACH.items()},
    script:
        "../scripts/pages.py"


rule show_table:
    """Write a table as a page, which also holds the table's file."""
    input:
        table=table_file,
    output:
        table=page("{table}"),
    log:
        "results/{experiment}/logs/tables_{table}.log",
    benchmark:
        "results/{experiment}/benchmarks/tables_{table}.tsv"
    wildcard_constraints:
        table="|".join(set(TABLES) - set(TABLES_OF_EACH.values())),
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("pages"),
        titles=lambda wildcards: {"table": TABLES[wildcards.table][1]},
    script:
        "../scripts/pages.py"
