"""What a user gets for a mistake: one clear error, no half-written file, and a rerun that works."""

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest
import torch

from conftest import SMALL
from early_exit.io.files import read_json, write_json
from early_exit.networks.build import build_network

pytestmark = pytest.mark.thorough

SHAPE = [3, 32, 32]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of BranchyNet, freshly initialised."""
    path = tmp_path_factory.mktemp("checkpoint") / "good.pt"
    torch.manual_seed(0)
    torch.save(build_network("branchynet", 10, SHAPE).state_dict(), path)
    return path


def with_checkpoint(project, found, **own):
    """An experiment whose weights come from there."""
    network = {"name": "branchynet", "checkpoint": found}
    project.configure(
        run="small", data_dir="data", experiments={"small": SMALL | {"network": network} | own}
    )


def fails(project, *arguments) -> str:
    """Run, expect one clear error, and give its line."""
    finished = project.run("--cores", "2", *arguments)
    shown = finished.stdout + finished.stderr
    assert finished.returncode != 0, shown
    assert "Traceback" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, shown
    return lines[0]


def no_rest(project):
    """Nothing half-written: no temporary file, and no network that was not finished."""
    names = [p.name for p in project.folder.joinpath("results").rglob("*") if p.is_file()]
    assert not [name for name in names if name.startswith(".")]
    assert "network.safetensors" not in names


def test_the_cause_is_repeated_at_the_end(finished):
    finished.path("exits/test.parquet").write_bytes(b"nothing")
    finished.path("sweep/test.csv").unlink()
    shown = finished.run("--cores", "2", "sweep").stderr
    *_, last = (line for line in shown.splitlines() if line.startswith("stopped: "))
    assert "exits/test.parquet: damaged or not Parquet" in last
    assert "(traceback: results/small/logs/sweep_test.log)" in last
    assert shown.rindex("CalledProcessError") < shown.rindex("stopped: ")


def test_a_typo_in_the_configuration(project):
    project.edit("config.yaml", "targets", "targest")
    assert fails(project).endswith(
        "experiments.small.calibration: unknown key 'targest'; did you mean 'targets'?"
    )
    assert not (project.folder / "results").exists()


def test_an_unknown_experiment(project):
    assert "unknown experiment 'smal'; did you mean 'small'?" in fails(
        project, "--config", "run=smal"
    )


def test_a_missing_archive(project):
    dataset = {"name": "cifar10", "mirrors": ["http://127.0.0.1:1/cifar-10-python.tar.gz"]}
    project.configure(run="small", data_dir="empty", experiments={"small": {"dataset": dataset}})
    error = fails(project, "data")
    assert "empty/cifar-10-python.tar.gz: missing" in error
    assert "set data_dir to a folder that has it" in error
    assert not project.path("data/manifest.json").exists()


def test_a_truncated_archive(project):
    folder = project.folder / "data/cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"half")
    project.configure(run="small", experiments={"small": {"dataset": {"name": "cifar10"}}})
    error = fails(project, "data")
    assert "data_batch_1: damaged, or another file (4 bytes" in error
    assert "delete data/cifar-10-batches-py" in error
    # It is the user's: named, not deleted.
    assert (folder / "data_batch_1").read_bytes() == b"half"


def test_a_missing_checkpoint(project):
    with_checkpoint(project, "gone.pt")
    finished = project.run("--cores", "1")
    assert finished.returncode != 0
    assert "gone.pt" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("name", "break_it", "message"),
    [
        ("keys.pt", lambda s: s.pop("stages.1.bn.weight"), "1 missing (stages.1.bn.weight)"),
        ("page.pt", None, "no checkpoint that can be read safely"),
    ],
)
def test_an_invalid_checkpoint(project, checkpoint, name, break_it, message):
    broken = project.folder / name
    if break_it:
        state = torch.load(checkpoint, weights_only=True)
        break_it(state)
        torch.save(state, broken)
    else:
        broken.write_text("<html>Not found</html>")
    with_checkpoint(project, name)
    error = fails(project, "network")
    assert name in error
    assert message in error
    no_rest(project)
    # Mended, it goes on.
    shutil.copy(checkpoint, broken)
    project.run("--cores", "2", "network", check=True)


def test_weights_that_give_nan(project, checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    own = state["heads.2.fc.weight"]
    state["heads.2.fc.weight"] = torch.full_like(own, float("nan"))
    torch.save(state, project.folder / "nan.pt")
    with_checkpoint(project, "nan.pt")
    error = fails(project, "network")
    assert "heads.2.fc.weight contains values that are infinite or NaN" in error
    # Finite themselves, with logits that are not.
    state["heads.2.fc.weight"] = torch.full_like(own, 3e38)
    torch.save(state, project.folder / "nan.pt")
    error = fails(project, "results/small/exits/test.parquet")
    assert "logits of 200 samples are NaN or infinite" in error
    assert "at exit 3" in error
    assert not project.path("exits/test.parquet").exists()
    assert "Traceback" in project.path("logs/exits_test.log").read_text()


def test_a_split_of_one_class(project, checkpoint):
    shutil.copy(checkpoint, project.folder / "good.pt")
    dataset = {"name": "digits", "calibration": 1, "test": 200}
    with_checkpoint(project, "good.pt", dataset=dataset)
    error = fails(project, "results/small/exits/calibration.parquet")
    assert "split calibration: all 1 samples are of class" in error
    assert "give the split more samples" in error


class Faults(BaseHTTPRequestHandler):
    """A server that gives the checkpoint, or one of the things that servers give instead."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        whole = self.server.content
        body, kind = {
            "/good": (whole, "application/octet-stream"),
            "/half": (whole[: len(whole) // 2], "application/octet-stream"),
            "/page": (b"<html>Sorry</html>", "text/html"),
            "/other": (whole[::-1], "application/octet-stream"),
        }[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(whole if self.path == "/half" else body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(checkpoint):
    running = ThreadingHTTPServer(("127.0.0.1", 0), Faults)
    running.daemon_threads = True
    running.content = checkpoint.read_bytes()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("page", "message"),
    [("half", ""), ("page", "sent a web page"), ("other", "wrong checksum")],
)
def test_a_server_that_gives_something_else(project, server, page, message):
    address = f"http://127.0.0.1:{server.server_port}"
    source = {
        "file": "net.pt",
        "sha256": hashlib.sha256(server.content).hexdigest(),
        "urls": [f"{address}/{page}"],
    }
    with_checkpoint(project, source)
    error = fails(project, "network")
    assert "data/weights/net.pt: missing" in error
    assert message in error
    assert not (project.folder / "data/weights/net.pt").exists()
    no_rest(project)
    # Another mirror mends it; what came of the half file is resumed or replaced.
    with_checkpoint(project, source | {"urls": [f"{address}/{page}", f"{address}/good"]})
    project.run("--cores", "2", "network", check=True)
    assert (project.folder / "data/weights/net.pt").read_bytes() == server.content
    assert [p.name for p in (project.folder / "data/weights").iterdir()] == ["net.pt"]


def test_records_of_another_network(finished):
    records = finished.path("exits/calibration.parquet")
    kept = records.read_bytes()
    machine = finished.path("cost/cost.json")
    content = read_json(machine)
    write_json(machine, content | {"identity": content["identity"] | {"network": "0" * 64}})
    finished.path("calibration/percentile.csv").unlink()
    error = fails(finished, "calibrate", "--rerun-triggers", "input")
    assert "made with another network" in error
    assert records.read_bytes() == kept


def test_damaged_records(finished):
    records = finished.path("exits/calibration.parquet")
    content = bytearray(records.read_bytes())
    group = pq.ParquetFile(records).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    entropy = columns["entropy_1"]
    start = min(entropy.dictionary_page_offset or 1 << 62, entropy.data_page_offset)
    content[start + entropy.total_compressed_size // 2] ^= 1
    records.write_bytes(content)
    finished.path("calibration/percentile.csv").unlink()
    error = fails(finished, "calibrate", "--rerun-triggers", "input")
    assert "exits/calibration.parquet: damaged" in error
    assert "delete it and run again" in error
    records.unlink()
    finished.run("--cores", "2", "calibrate", check=True)
