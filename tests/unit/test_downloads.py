import hashlib
import io
import tarfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from early_exit.datasets import cifar
from early_exit.downloads import check_files, fetch, unpack
from early_exit.errors import InputError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = (2.0, 0.5)


class Handler(BaseHTTPRequestHandler):
    """Plays a good server, and each way in which one goes wrong."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, self.path.strip("/").replace("-", "_"))()

    def send(self, status, body, length=None, kind="application/octet-stream"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        asked = self.headers.get("Range")
        if not asked:
            return self.send(200, CONTENT)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(CONTENT):
            return self.send(416, b"")
        return self.send(206, CONTENT[start:])

    def no_resume(self):
        self.send(200, CONTENT)

    def breaks_off(self):
        self.send(200, CONTENT[:500_000], length=len(CONTENT))

    def error_page(self):
        self.send(200, b"<html>Sorry</html>", kind="text/html; charset=utf-8")

    def error_page_as_file(self):
        self.send(200, b"<html>Sorry</html>")

    def other_file(self):
        self.send(200, CONTENT[::-1])

    def packed(self):
        time.sleep(0.2)
        self.send(200, self.server.packed)

    def missing(self):
        self.send(404, b"")

    def stalls(self):
        self.send(200, CONTENT[:50_000], length=len(CONTENT))
        self.wfile.flush()
        time.sleep(2)


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture
def address(server):
    return lambda page: f"http://127.0.0.1:{server.server_port}/{page}"


def test_a_file_is_fetched_once(tmp_path, server, address):
    path = tmp_path / "new" / "file"
    assert fetch(path, [address("good")], SHA256).read_bytes() == CONTENT
    fetch(path, [address("good")], SHA256)
    assert len(server.asked) == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("missing", "answered 404"),
        ("error-page", "a web page came"),
        ("error-page-as-file", "wrong checksum"),
        ("other-file", "wrong checksum"),
        ("breaks-off", "cannot be reached|broke off"),
        ("stalls", "stalled for 0.5 s"),
    ],
)
def test_a_bad_server_is_named_and_the_next_mirror_asked(tmp_path, address, page, reason):
    path = tmp_path / "file"
    with pytest.raises(InputError, match=f"file: not there.*{page}: ({reason})"):
        fetch(path, [address(page)], SHA256, QUICK)
    assert not path.exists()
    assert fetch(path, [address(page), address("good")], SHA256, QUICK).read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_an_unreachable_mirror_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be reached"):
        fetch(tmp_path / "file", ["http://127.0.0.1:1/file"], SHA256, QUICK)


def test_what_came_is_kept_and_resumed(tmp_path, server, address):
    path = tmp_path / "file"
    with pytest.raises(InputError):
        fetch(path, [address("breaks-off")], SHA256, QUICK)
    have = (tmp_path / "file.part").stat().st_size
    assert 400_000 < have <= 500_000
    fetch(path, [address("good")], SHA256, QUICK)
    assert server.asked[-1] == ("/good", f"bytes={have}-")
    assert path.read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_all(tmp_path, address):
    path = tmp_path / "file"
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert fetch(path, [address("no-resume")], SHA256).read_bytes() == CONTENT


def test_a_whole_part_is_not_fetched_again(tmp_path, address):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch(tmp_path / "file", [address("good")], SHA256).read_bytes() == CONTENT


def test_a_wrong_file_that_is_there_is_named_and_kept(tmp_path, address):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="file: damaged, or another file"):
        fetch(path, [address("good")], SHA256)
    assert path.read_bytes() == b"mine"


@pytest.mark.faults
@pytest.mark.parametrize(
    "address",
    [
        *("http://example.org/f", "ftp://localhost/f", "file:///f", "/etc/passwd", ""),
        *("http://localhost.example.org/f", "http://127.0.0.1@example.org/f", "HTTP://10.0.0.1/f"),
    ],
)
def test_addresses_are_https_unless_local(tmp_path, address, tally):
    with pytest.raises(InputError, match="must be https"):
        fetch(tmp_path / "file", [address], SHA256, QUICK)
    tally["hostile addresses refused"] += 1


def test_checked_files_are_named(tmp_path):
    good = {"a": "md5:" + hashlib.md5(b"a").hexdigest(), "b": hashlib.md5(b"b").hexdigest()}
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(InputError, match="b: missing; mend it"):
        check_files(tmp_path, good, "mend it")
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(InputError, match=r"b: damaged.*0 bytes.*; mend it"):
        check_files(tmp_path, good, "mend it")
    (tmp_path / "b").write_bytes(b"b")
    check_files(tmp_path, good, "mend it")


# Members that are no plain files.
KINDS = {
    "data/hard": tarfile.LNKTYPE,
    "data/device": tarfile.CHRTYPE,
    "data/pipe": tarfile.FIFOTYPE,
}


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if name in KINDS:
                info.type, info.linkname = KINDS[name], "/etc/passwd"
                tar.addfile(info)
            elif isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
    return path


def test_an_archive_is_unpacked_whole(tmp_path):
    packed = archive(tmp_path / "a.tar.gz", {"data/x": b"1", "data/y": b"2"})
    unpack(packed, tmp_path, "data")
    assert (tmp_path / "data" / "y").read_bytes() == b"2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "data"]


def test_several_jobs_that_want_it_fetch_and_unpack_it_once(tmp_path, server, address):
    server.packed = archive(tmp_path / "a.tar.gz", {"data/x": b"1"}).read_bytes()
    checksum = hashlib.sha256(server.packed).hexdigest()
    files = {"x": hashlib.md5(b"1").hexdigest()}
    source = cifar.Source("data", "a.tar.gz", checksum, (), files)
    folder = tmp_path / "shared"
    # As a kill leaves it.
    (folder / ".unpacking-old/data").mkdir(parents=True)
    done = []

    def job():
        done.append(cifar.prepare(source, folder, {"mirrors": [address("packed")]}))

    jobs = [threading.Thread(target=job) for _ in range(4)]
    for one in jobs:
        one.start()
    for one in jobs:
        one.join()
    assert len(done) == 4
    assert len(server.asked) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["a.tar.gz", "data"]
    assert [path.name for path in (folder / "data").iterdir()] == ["x"]


@pytest.mark.faults
@pytest.mark.parametrize(
    "members",
    [
        {"data/x": b"1", "../out": b"2"},
        {"data/x": b"1", "data/../../out": b"2"},
        {"data/x": b"1", "/tmp/early-exit-out": b"2"},
        {"data/x": "/etc/passwd"},
        {"data/x": "../../out"},
        {"data/x": b"1", "data/hard": b""},
        {"data/x": b"1", "data/device": b""},
        {"data/x": b"1", "data/pipe": b""},
        {"other/x": b"1"},
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, members, tally):
    inner = tmp_path / "inner"
    inner.mkdir()
    packed = archive(inner / "a.tar.gz", members)
    with pytest.raises(InputError, match=r"a\.tar\.gz"):
        unpack(packed, inner, "data")
    assert list(inner.iterdir()) == [packed]
    assert list(tmp_path.iterdir()) == [inner]
    tally["hostile files refused"] += 1


def test_a_truncated_archive_is_named(tmp_path):
    packed = archive(tmp_path / "a.tar.gz", {"data/x": CONTENT})
    packed.write_bytes(packed.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(packed, tmp_path, "data")
    assert list(tmp_path.iterdir()) == [packed]
