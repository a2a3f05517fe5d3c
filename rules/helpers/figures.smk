# Inputs, params and places in the report of the rules in figures.smk.


def drawn_from(wildcards):
    """Input files of a figure, by the names that its module uses."""
    tables = FIGURES[wildcards.figure].items()
    return {name: f"results/{wildcards.experiment}/{file}" for name, file in tables}


def table_file(wildcards):
    """The file of a table that the report shows."""
    return f"results/{wildcards.experiment}/{TABLES[wildcards.table][0]}"


def of_published_network(wildcards):
    """Whether the network is that of an experiment with `reproduction`, the published one."""
    own = experiment(wildcards)["network"]
    published = [
        EXPERIMENTS[name]["network"] for name in NETWORKS if EXPERIMENTS[name]["reproduction"]
    ]
    return bool(own) and own["checkpoint"] is not None and own in published


def chapter(wildcards):
    """Part of the report that a figure is in."""
    name = wildcards.get("figure", "samples")
    return next(part for part, figures in STORY.items() if name in figures)


def title_of_figure(wildcards):
    """Label of a figure in the report."""
    name = wildcards.get("figure", "samples")
    return {"figure": numbered(list(STORY[chapter(wildcards)].items()), name)}


def page(table):
    """The page of a table, as part of the report."""

    def label(wildcards):
        name = wildcards.get("table", table)
        titles = [(own, title) for own, (_, title) in TABLES.items()]
        return {"table": numbered(titles, name)}

    return report(
        f"results/{{experiment}}/tables/{table}.html",
        caption="report/table.rst",
        category="{experiment}",
        subcategory="5 Tables",
        labels=label,
    )


def numbered(titles, name):
    """Title with its number, by which the report sorts: letters after nine."""
    (place,) = (n for n, (own, _) in enumerate(titles) if own == name)
    return f"{'123456789ABCDEFGH'[place]} {titles[place][1]}"
