"""Step figures: write pages of the report, the overview and tables."""

from pathlib import Path

from early_exit.analysis.pages import overview, table_page
from early_exit.io.files import replacing
from job.inputs import Inputs
from job.run import run_job


def main(snakemake):
    inputs = Inputs(snakemake)
    pages = {}
    for name, title in snakemake.params.titles.items():
        path = Path(inputs.files[name])
        title = f"{snakemake.wildcards.experiment}: {title}"
        pages[name] = table_page(title, path.name, inputs.table(name), path.read_bytes())
    if "overview" in snakemake.output.keys():  # noqa: SIM118, not a dictionary
        tables = [inputs.table(name) for name in ("per_exit", "points", "per_class")]
        pages["overview"] = overview(inputs.json("summary"), *tables)
    for name, text in pages.items():
        with replacing(snakemake.output[name]) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
