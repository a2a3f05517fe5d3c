# This workflow's folder and path prefix. As a module of another workflow, `workflow.basedir` is the
# other workflow's, and a `prefix` goes before every path.
import hashlib
import io
import os
import shutil
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

from snakemake.sourcecache import HostingProviderFile, LocalSourceFile

# Snakemake runs a module's rules, but none of its handlers (onstart, onsuccess, onerror).
AS_MODULE = not workflow.modifier.is_main_snakefile()
PREFIX = workflow.modifier.path_modifier


def home():
    """Folder of this workflow's Snakefile."""
    here = workflow.current_basedir
    if isinstance(here, LocalSourceFile):
        return Path(here.get_path_or_uri(secret_free=True)).parent
    if isinstance(here, HostingProviderFile):
        return unpacked(here.hosted_repo.repo, here.ref)
    sys.exit(
        f"error: {here.get_path_or_uri(secret_free=True)}: this workflow can be used from a folder,"
        " or from github() or gitlab(); clone it, and name the Snakefile in the clone"
    )


def unpacked(repository, reference):
    """A folder with all files of a repository at a commit, below the working folder.

    From a git source Snakemake fetches only the files that rules name, not the modules that scripts
    import.
    """
    commit = repository.commit(reference).hexsha
    folder = Path(".snakemake/early-exit").absolute() / commit
    if not folder.exists():
        archive = io.BytesIO(repository.git.archive(commit, stdout_as_string=False))
        beside = folder.with_name(f"{commit}-{os.getpid()}")
        with tarfile.open(fileobj=archive) as files:
            files.extractall(beside, filter="data")
        try:
            beside.rename(folder)
        except OSError:
            # Another run has unpacked it.
            shutil.rmtree(beside)
    return folder


def library():
    """The folder to put first on the import path of this process and of its jobs.

    Snakemake appends a script's folder to the path, where an installed package named `early_exit`
    would win. As a module, the folder contains the imported packages alone: scripts of the other
    workflow must find their own modules, whose names may equal those of scripts here (`data`).
    """
    scripts = HOME / "scripts"
    if not AS_MODULE:
        return scripts
    key = hashlib.sha256(str(scripts).encode()).hexdigest()[:16]
    folder = Path(".snakemake/early-exit").absolute() / f"library-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("early_exit", "job"):
        with suppress(FileExistsError):
            (folder / name).symlink_to(scripts / name, target_is_directory=True)
    return folder


def put_first(folder):
    """Put a folder first on the import path of this process and of its jobs."""
    sys.path.insert(0, str(folder))
    environment = os.environ
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in paths if path not in ("", str(folder))]
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *others])


def made(path):
    """Whether a rule of this workflow, or of one that uses it as a module, makes a file."""
    return any(rule.is_producer(path) for rule in workflow.rules)


def stored():
    """Whether paths are in a storage provider (--default-storage-provider)."""
    return workflow.storage_settings.default_storage_provider is not None


def found(path):
    """A file that the configuration names, as an input; `None` if it neither exists nor is made.

    Paths start in the working folder or, for shipped files, in this workflow's folder.
    """
    if made(PREFIX.replace_prefix(path)):
        return path
    for file in (Path(path), HOME / path):
        if file.is_file():
            # Without the prefix, and not looked for in a storage.
            return local(str(file))
    if made(path):
        return path if stored() else local(path)
    # Only Snakemake knows what is in a storage.
    return path if stored() else None


HOME = home()
