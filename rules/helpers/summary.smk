# Inputs and params of the rules in summary.smk.


def summary_of(name):
    """Path of the summary of the experiment `name`, in the folder of its results."""
    (path,) = expand(str(rules.write_summary.output.summary), experiment=name)
    return Path(path)


def headlines():
    """Headlines of the experiments in `run` whose summaries exist and are up to date."""
    return messages.headlines({name: summary_of(name) for name in CONFIGURATION.run})


def headline_folder(wildcards, input):
    """Folder of results if the job prints the headline; empty if the handler `onsuccess` does.

    As a module the workflow has no handlers, and with a storage the summary is not kept locally.
    """
    folder = PREFIX.replace_prefix(f"results/{wildcards.experiment}")
    if stored():
        return f"{(workflow.storage_settings.default_storage_prefix or '').rstrip('/')}/{folder}"
    return folder if AS_MODULE else ""
