import logging
from types import SimpleNamespace

import pytest

from early_exit.errors import InputError
from early_exit.files import write_json
from stage_inputs import origin
from stage_runner import run_stage


@pytest.fixture
def job(tmp_path):
    yield SimpleNamespace(log=[str(tmp_path / "stage.log")], threads=1)
    # Closes the log that the stage opened.
    logging.basicConfig(force=True)
    logging.captureWarnings(False)


def raises(error):
    def main(snakemake):
        raise error

    return main


def test_what_the_user_can_mend_is_one_line_with_its_traceback_in_the_log(job, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_stage(raises(InputError("data.csv: wrong; mend it")), job)
    assert stopped.value.code == 1
    shown = capsys.readouterr().err
    assert "error: data.csv: wrong; mend it" in shown
    assert "Traceback" not in shown
    with open(job.log[0]) as log:
        assert "Traceback" in log.read()


def test_a_full_disk_is_one_line(job, capsys):
    with pytest.raises(SystemExit):
        run_stage(raises(OSError(28, "No space left on device", "results/x")), job)
    assert "error: results/x: No space left on device" in capsys.readouterr().err


def test_a_fault_of_the_workflow_is_not_hidden(job):
    with pytest.raises(ZeroDivisionError):
        run_stage(raises(ZeroDivisionError()), job)
    with open(job.log[0]) as log:
        assert "fault of the workflow" in log.read()


def test_success_notes_the_modules_used(job):
    run_stage(lambda snakemake: None, job)
    with open(job.log[0]) as log:
        assert "early_exit.errors" in log.read()


def test_a_file_without_identity_is_named(tmp_path):
    path = tmp_path / "cost.json"
    write_json(path, {})
    with pytest.raises(InputError, match=r"cost\.json: lacks the keys \['identity'\]"):
        origin(path)
