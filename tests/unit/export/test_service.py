"""The service of the page: a load, silent clients, and whatever else a client may send."""

import argparse
import http.client
import importlib.util
import io
import json
import queue
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_graphs import POLICIES, exported, runner_module

from helpers import SmallNetwork

SERVICE = Path(__file__).parents[3] / "examples/service.py"
CLIENTS, REQUESTS = 50, 10


@pytest.fixture(scope="module")
def export_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service") / "export"
    exported(SmallNetwork().eval(), POLICIES[0], folder)
    shutil.copy(SERVICE, folder)
    return folder


@contextmanager
def serving(folder, *settings):
    """The service in a process of its own; its port and process."""
    command = [sys.executable, "-u", str(folder / "service.py"), "--port", "0", *settings]
    with (
        open(folder / "log.txt", "w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield int(process.stdout.readline().rpartition(":")[2]), process
        finally:
            process.terminate()
            process.wait(timeout=20)
            log.seek(0)
            told = log.read()
    assert "Traceback" not in told, told


def images(number):
    """Image files, all different."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(number):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)).save(file, format="png")
        contents.append(file.getvalue())
    return contents


def ask(port, content, **headers):
    """Status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/", content, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def raw(port, content, wait=20):
    """All that comes back for some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def threads_of(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("Threads:")]
    return int(line.split()[1])


def peak_of(process):
    """The most memory that it has had, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


@pytest.mark.thorough
def test_no_request_of_fifty_clients_is_lost(export_folder):
    """Answers are those of single calls, whatever other images were in the same batch."""
    contents = images(CLIENTS * REQUESTS)
    runner = runner_module(export_folder / "runner.py").EarlyExitRunner(export_folder)
    expected = []
    for content in contents:
        (prediction,), (taken,), (unsure,) = runner.run(runner.read(io.BytesIO(content))[None])
        expected.append(
            (runner.class_names[prediction], taken + 1, pytest.approx(unsure, abs=1e-5))
        )
    with serving(export_folder) as (port, _), ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda content: ask(port, content), contents))
    assert [status for status, _ in answers] == [200] * len(contents)
    assert [tuple(answer.values()) for _, answer in answers] == expected


class Slow:
    """A runner that takes its time, notes its batches, and fails on an image of 255."""

    def __init__(self, seconds=0.0):
        self.seconds, self.batches = seconds, []

    def run(self, batch, batch_size):
        time.sleep(self.seconds)
        self.batches.append(len(batch))
        if (batch == 255).any():
            raise ValueError("broken")
        return [batch[:, 0, 0, 0] + number for number in range(3)]


def batches_of(runner, **settings):
    spec = importlib.util.spec_from_file_location("service", SERVICE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["runner"] = runner_module()
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["runner"]
    given = {"batch": 8, "wait_ms": 200.0, "queue": 8, "seconds": 20} | settings
    return module.Batches(runner, argparse.Namespace(**given))


def image_of(number):
    return np.full((3, 2, 2), number, np.uint8)


def test_images_that_come_together_are_one_batch():
    runner = Slow()
    batches = batches_of(runner, batch=6, queue=12)
    with ThreadPoolExecutor(12) as clients:
        found = list(clients.map(lambda k: batches.classify(image_of(k)), range(12)))
    # Each gets its own answer, and no batch is larger than it may be.
    assert found == [[k, k + 1, k + 2] for k in range(12)]
    assert sum(runner.batches) == 12
    assert max(runner.batches) == 6


def test_an_image_alone_does_not_wait_longer_than_it_must():
    runner = Slow()
    batches = batches_of(runner, wait_ms=0.0)
    assert [batches.classify(image_of(k))[0] for k in range(3)] == [0, 1, 2]
    assert runner.batches == [1, 1, 1]


def test_what_waits_is_bounded():
    batches = batches_of(Slow(seconds=0.5), batch=1, queue=2)
    with ThreadPoolExecutor(12) as clients:
        found = [clients.submit(batches.classify, image_of(k)) for k in range(12)]
        errors = [one.exception() for one in found]
    refused = [error for error in errors if isinstance(error, queue.Full)]
    assert len(refused) >= 8
    assert all(error is None for error in errors if error not in refused)


def test_an_answer_that_takes_too_long_is_given_up():
    batches = batches_of(Slow(seconds=1.0), seconds=0.1)
    with pytest.raises(TimeoutError):
        batches.classify(image_of(1))


def test_a_batch_that_fails_does_not_stop_the_service():
    batches = batches_of(Slow(), wait_ms=0.0)
    with pytest.raises(ValueError, match="broken"):
        batches.classify(image_of(255))
    assert batches.classify(image_of(3)) == [3, 4, 5]


def test_silent_clients_time_out(export_folder):
    (content,) = images(1)
    silent = []
    with serving(export_folder, "--seconds", "3", "--connections", "20") as (port, process):
        before = threads_of(process)
        try:
            for number in range(300):
                connection = socket.create_connection(("127.0.0.1", port), timeout=20)
                # Some send nothing, some a head without the body.
                with_head = b"POST / HTTP/1.0\r\nContent-Length: 99\r\n\r\n"
                connection.sendall(with_head if number % 2 else b"")
                silent.append(connection)
            time.sleep(0.5)
            assert threads_of(process) <= before + 20
            # Meanwhile others are told to come again, and soon may.
            status = 503
            end = time.monotonic() + 20
            while status == 503 and time.monotonic() < end:
                try:
                    status, answer = ask(port, content)
                except OSError:
                    continue
                time.sleep(0.2)
            assert status == 200, answer
            assert threads_of(process) <= before + 1
        finally:
            for connection in silent:
                connection.close()


def test_a_slow_client_is_disconnected(export_folder):
    with (
        serving(export_folder, "--seconds", "1") as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
    ):
        start = time.monotonic()
        connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: 100000\r\n\r\n")
        with pytest.raises(OSError):
            while time.monotonic() < start + 30:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (b"9" * 5000, b"413"),
        (b"10000001", b"413"),
        (b"-1", b"411"),
        (b"1e3", b"411"),
        ("\u0663".encode(), b"411"),
        (b"", b"411"),
        (b"0", b"400"),
    ],
)
def test_an_invalid_length_is_answered(service, length, status):
    answer = raw(service, b"POST / HTTP/1.0\r\nContent-Length: " + length + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 " + status)
    assert b'{"error": ' in answer


@pytest.fixture(scope="module")
def service(export_folder):
    """One that answers the tests that change nothing; what it told was no traceback."""
    with serving(export_folder) as (port, _):
        yield port


def test_too_long_an_image_is_answered_while_it_is_sent(service):
    assert ask(service, bytes(10_000_001))[0] == 413


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_a_body_that_is_no_image_is_answered(service, content):
    status, answer = ask(service, content)
    assert status == 400
    assert answer["error"].startswith("no image that can be read (")
    assert answer["error"].isprintable()


def test_other_requests_are_answered(service):
    assert raw(service, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 501")
    assert b"411" in raw(service, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc")
    assert b"414" in raw(service, b"POST /" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n")
    assert b"431" in raw(service, b"POST / HTTP/1.0\r\n" + b"a: b\r\n" * 200 + b"\r\n")
    assert b"400" in raw(service, b"\x16\x03\x01\x02\x00 \r\n\r\n")
    # It goes on.
    assert ask(service, images(1)[0])[0] == 200


def test_small_files_do_not_become_gigabytes(export_folder):
    """Six at once of 13,300 x 13,300, and some as large as is allowed."""

    def white(side):
        file = io.BytesIO()
        Image.new("1", (side, side), 1).save(file, format="tiff", compression="group4")
        return file.getvalue()

    too_large, large = white(13_300), white(5000)
    with serving(export_folder) as (port, process), ThreadPoolExecutor(6) as clients:
        ask(port, images(1)[0])
        before = peak_of(process)
        answers = list(clients.map(lambda content: ask(port, content), [too_large] * 6))
        assert peak_of(process) < before + 20
        assert {status for status, _ in answers} == {400}
        assert "13300 x 13300 pixels, more than the 25,000,000" in answers[0][1]["error"]
        answers = list(clients.map(lambda content: ask(port, content), [large] * 6))
        assert {status for status, _ in answers} == {200}
        assert peak_of(process) < before + 600
