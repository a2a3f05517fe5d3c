# The figures of every experiment, SVG and PNG, with the numbers of their captions.
FIGURES = ["sweep", "operating_points", "exit_shares", "exit_accuracy", "per_class"]


rule figures:
    """Target: the figures of each experiment."""
    input:
        each("results/{experiment}/figures/{figure}.svg", figure=FIGURES),
        learning_curves(),


rule draw_figures:
    """Draw the figures: sweep, operating points, shares leaving, accuracy of each exit and class."""
    input:
        sweep="results/{experiment}/sweep/test.csv",
        points="results/{experiment}/evaluation/operating_points.csv",
        per_exit="results/{experiment}/evaluation/per_exit.csv",
        per_class="results/{experiment}/evaluation/per_class.csv",
        summary="results/{experiment}/summary.json",
    output:
        **figure_files("results/{experiment}/figures", FIGURES),
    log:
        "results/{experiment}/logs/figures.log",
    benchmark:
        "results/{experiment}/benchmarks/figures.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", *[f"figures.{name}" for name in FIGURES]),
        figures=FIGURES,
        stated=stated(*FIGURES),
    script:
        "../scripts/figures.py"


rule draw_learning_curve:
    """Draw how training went, for experiments that train their network."""
    input:
        training="results/{experiment}/network/training.csv",
    output:
        **figure_files("results/{experiment}/figures", ["learning_curve"]),
    log:
        "results/{experiment}/logs/figures_learning_curve.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_learning_curve.tsv"
    wildcard_constraints:
        experiment=TRAINED,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.learning_curve"),
        figures=["learning_curve"],
        stated=stated("learning_curve"),
    script:
        "../scripts/figures.py"
