# Inputs and params of the rules in explorer.smk.
import hashlib


def policies_of_frontier(wildcards):
    """The frontier's policies, if the experiment has a frontier; else nothing."""
    methods = experiment(wildcards)["frontier"]["methods"]
    return "results/{experiment}/frontier/policies.csv" if methods else []


def page_files(wildcards):
    """Checksum of the page's template, styles and scripts, which `code` does not cover."""
    folder = SCRIPTS / "early_exit/explorer"
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".html", ".css", ".js"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def shown_folder(wildcards, input):
    """Folder of the results as the user sees it, for commands on the page."""
    return PREFIX.replace_prefix(f"results/{wildcards.experiment}")
