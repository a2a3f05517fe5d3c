from pathlib import Path

import pytest

from early_exit.config import fingerprint
from early_exit.config.job_code import check_code, file_of, job_code
from early_exit.errors import InputError
from job.run import SCRIPTS

NETWORK = """
from early_exit.networks import MultiExitNetwork
import blocks

class Net(MultiExitNetwork):
    pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A network's file of the user's with one beside it, in the folder where it runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "blocks.py").write_text("WIDTH = 8\n")
    return tmp_path


def planned():
    fingerprint._read.cache_clear()
    return job_code(SCRIPTS, "exits", "networks.zoo.net.py:Net", "datasets.digits")


def test_it_says_what_it_is_of(own):
    found, *names = planned()
    assert names == ["exits", "networks.zoo.net.py:Net", "datasets.digits"]
    assert found == planned()[0]
    assert found != job_code(SCRIPTS, "exits", "networks.zoo.net.py:Net", "datasets.cifar10")[0]


@pytest.mark.parametrize("file", ["net.py", "blocks.py"])
def test_an_edit_of_a_network_s_file_is_found_and_named(own, file):
    code = planned()
    whole = (own / file).read_text()
    (own / file).write_text(whole + "# A remark.\n")
    fingerprint._read.cache_clear()
    check_code(SCRIPTS, code)
    (own / file).write_text(whole + "MORE = 1\n")
    fingerprint._read.cache_clear()
    with pytest.raises(InputError, match=r"exits: .* of net\.py:Net, was edited .*; run again$"):
        check_code(SCRIPTS, code)
    # As the message says: planned again, it begins.
    check_code(SCRIPTS, planned())


def test_a_file_that_is_gone_by_then_is_named(own):
    code = planned()
    (own / "net.py").unlink()
    with pytest.raises(InputError, match=r"no file net\.py"):
        check_code(SCRIPTS, code)


def test_a_job_without_a_plan_begins():
    check_code(SCRIPTS, [])


DATA = """
import early_exit.statistics.pareto
import blocks


class Data:
    pass
"""


def planned_with_data():
    fingerprint._read.cache_clear()
    return job_code(SCRIPTS, "exits", "networks.zoo.compact", "datasets.data.py:Data")


def test_a_data_set_s_file_counts_with_what_runs_it(own):
    (own / "data.py").write_text(DATA)
    code, *names = planned_with_data()
    assert names == ["exits", "networks.zoo.compact", "datasets.data.py:Data"]
    library = ("networks.zoo.compact", "datasets.custom", "statistics.pareto")
    modules = [f"early_exit.{name}" for name in library]
    own_code = fingerprint.fingerprint(own, "data")
    assert code == f"{fingerprint.fingerprint(SCRIPTS, 'exits', *modules)}-{own_code}"


@pytest.mark.parametrize("file", ["data.py", "blocks.py"])
def test_an_edit_of_a_data_set_s_file_is_found_and_named(own, file):
    (own / "data.py").write_text(DATA)
    code = planned_with_data()
    whole = (own / file).read_text()
    for text, edited in ((whole + "# A remark.\n", False), (whole + "MORE = 1\n", True)):
        (own / file).write_text(text)
        fingerprint._read.cache_clear()
        if edited:
            with pytest.raises(InputError, match=r"of data\.py:Data, was edited .*; run again$"):
                check_code(SCRIPTS, code)
        else:
            check_code(SCRIPTS, code)


def test_a_network_s_path_may_begin_like_a_data_set():
    assert file_of("networks.zoo.datasets.py/net.py:Net").path == Path("datasets.py/net.py")
    assert file_of("datasets.own/data.py:Data").path == Path("own/data.py")
    assert file_of("datasets.digits") is None
    assert file_of("calibration.methods.uniform") is None
