# Check of the configuration files before Snakemake parses them: on some files it hangs, and for
# others its error has no line number.
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.20")


include: "place.smk"


SCRIPTS = HOME / "scripts"
put_first(library())

from early_exit.config.parse import read_configuration
from early_exit.errors import InputError
from job import brief
from snakemake.logging import logger

if workflow.is_main_process and not AS_MODULE:
    brief.install(logger, workflow.output_settings, lambda: workflow.dag.needrun_jobs())


def check_files(files):
    """Exit with a one-line error if a file cannot be parsed, or not in reasonable time."""
    try:
        for file in files:
            # Snakemake reports missing files.
            if Path(file).exists():
                read_configuration(Path(file))
    except InputError as error:
        # Not a WorkflowError, which would print a position in the rules.
        sys.exit(f"error: {error}")


# As a module, the configuration comes from the workflow that uses it.
check_files([] if AS_MODULE else [*workflow.configfiles, "config.yaml"])
