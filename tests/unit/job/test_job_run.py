import errno
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from early_exit.config.job_code import job_code
from early_exit.errors import InputError
from early_exit.io.files import write_json
from job.inputs import Inputs
from job.run import SCRIPTS, out_of_memory, run_job


@pytest.fixture
def job(tmp_path):
    yield SimpleNamespace(log=[str(tmp_path / "job.log")], threads=1)
    # Closes the log that the job opened.
    logging.basicConfig(force=True)
    logging.captureWarnings(False)


def raises(error):
    def main(snakemake):
        raise error

    return main


def test_input_errors_are_one_line_with_the_traceback_in_the_log(job, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_job(raises(InputError("data.csv: wrong; mend it")), job)
    assert stopped.value.code == 1
    shown = capsys.readouterr().err
    assert "error: data.csv: wrong; mend it" in shown
    assert "Traceback" not in shown
    with open(job.log[0]) as log:
        assert "Traceback" in log.read()


def test_a_full_disk_is_one_line(job, capsys):
    with pytest.raises(SystemExit):
        run_job(raises(OSError(28, "No space left on device", "results/x")), job)
    assert "error: results/x: No space left on device" in capsys.readouterr().err


def test_a_fault_of_the_workflow_is_not_hidden(job):
    with pytest.raises(ZeroDivisionError):
        run_job(raises(ZeroDivisionError()), job)
    with open(job.log[0]) as log:
        assert "fault of the workflow" in log.read()


def test_success_notes_the_modules_used(job):
    run_job(lambda snakemake: None, job)
    with open(job.log[0]) as log:
        assert "early_exit.errors" in log.read()


def test_a_file_without_identity_is_named(tmp_path):
    path = tmp_path / "cost.json"
    write_json(path, {})
    with pytest.raises(InputError, match=r"cost\.json: lacks the keys \['identity'\]"):
        Inputs(SimpleNamespace(input={"machine": str(path)}))


@pytest.mark.parametrize(
    ("params", "setting"),
    [
        ({"inference": {"batch_size": 32}}, "a smaller inference.batch_size"),
        ({"training": {"batch_size": 32}, "inference": {}}, "a smaller training.batch_size"),
        ({}, None),
    ],
)
def test_out_of_memory_names_the_settings_to_change(job, capsys, params, setting):
    job.params, job.rule = params, "record_exits"
    with pytest.raises(SystemExit):
        run_job(lambda _: torch.empty(10**15), job)
    shown = capsys.readouterr().err
    assert "error: record_exits: out of memory (RuntimeError: " in shown
    assert "set-resources: record_exits: mem_mb" in shown
    assert "fewer --cores" in shown
    assert (setting in shown) if setting else ("batch_size" not in shown)
    with open(job.log[0]) as log:
        text = log.read()
    assert " Stopped: record_exits: out of memory" in text
    assert "Traceback" in text


@pytest.mark.parametrize(
    "ask", [lambda: np.empty(10**15), lambda: torch.empty(10**15), lambda: bytearray(10**15)]
)
def test_memory_errors_of_libraries_are_recognised(ask):
    with pytest.raises(Exception) as error:
        ask()
    assert out_of_memory(error.value)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (MemoryError("std::bad_alloc"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_other_errors_are_not_memory_errors(error, is_memory):
    assert out_of_memory(error) == is_memory


def test_a_job_whose_code_was_edited_since_it_was_planned_stops(job, capsys):
    planned = job_code(SCRIPTS, "summary", "records.uncertainty.entropy")
    job.params = {"code": planned}
    run_job(lambda snakemake: None, job)
    job.params = {"code": ["0" * 16, *planned[1:]]}
    with pytest.raises(SystemExit):
        run_job(raises(AssertionError("it began")), job)
    shown = capsys.readouterr().err
    assert "error: summary: the code of this job was edited after" in shown
    assert "; run again" in shown


def test_a_name_with_escape_codes_cannot_change_the_line(job, capsys):
    with pytest.raises(SystemExit):
        run_job(raises(InputError("a\nerror: b\x1b[2K.csv: wrong; mend it")), job)
    assert "\nerror: a error: b.csv: wrong; mend it\n" in capsys.readouterr().err
