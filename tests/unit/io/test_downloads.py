import gzip
import hashlib
import io
import os
import resource
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from early_exit.datasets import cifar
from early_exit.errors import InputError
from early_exit.io.downloads import check_files, fetch, unpack
from early_exit.io.mirror import Limits, shown

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
# Limits that a server on a loaded machine keeps, and those of the servers that stall.
PATIENT = Limits(connect=20.0, silence=20.0, rate=1.0, window=20.0, whole=60.0)
QUICK = Limits(connect=20.0, silence=1.0, rate=1e5, window=1.0, whole=20.0)
STALLING = ("stalls", "drips", "drips-head")


class Handler(BaseHTTPRequestHandler):
    """Server with a good path, and a path for each kind of failure."""

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

    def head(self, status="200 OK", **headers):
        """The head of an answer, whatever it says; names with _ for -."""
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        self.wfile.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1"))
        self.close_connection = True

    def length_is_no_number(self):
        self.head(Content_Length="many")
        self.wfile.write(CONTENT)

    def length_is_negative(self):
        self.head(Content_Length="-5")
        self.wfile.write(CONTENT)

    def length_of_5000_digits(self):
        self.head(Content_Length="9" * 5000)
        self.wfile.write(CONTENT)

    def two_lengths(self):
        self.head(Content_Length="5, 6")
        self.wfile.write(CONTENT)

    def a_length_of_a_terabyte(self):
        self.head(Content_Length=str(1 << 40))
        self.wfile.write(CONTENT)

    def length_is_missing(self):
        self.head()
        self.wfile.write(CONTENT)

    def breaks_off_without_length(self):
        self.head()
        self.wfile.write(CONTENT[:500_000])

    def to_no_address(self):
        self.head("302 Found", Location="http://[::1")

    def to_a_wrong_port(self):
        self.head("302 Found", Location="http://127.0.0.1:99999/")

    def to_a_word_port(self):
        self.head("302 Found", Location="http://127.0.0.1:eighty/")

    def to_a_long_host(self):
        self.head("302 Found", Location=f"https://{'a' * 3000}.example.org/")

    def to_a_long_path(self):
        self.head("302 Found", Location=f"/{'a' * 60_000}")

    def to_an_empty_label(self):
        self.head("302 Found", Location="https://a..b/")

    def to_bytes(self):
        self.head("302 Found", Location="https://\xff\xfe/")

    def to_a_file(self):
        self.head("302 Found", Location="file:///etc/passwd")

    def to_plain_http(self):
        self.head("302 Found", Location="http://example.org/file?token=s3cret")

    def to_the_file(self):
        self.head("302 Found", Location="/good")

    def to_the_target(self):
        self.head("302 Found", Location=self.server.target)

    def to_itself(self):
        self.head("302 Found", Location="/to-itself")

    def to_nowhere(self):
        self.head("302 Found")

    def to_the_file_endlessly(self):
        self.head("302 Found", Location="/good")
        self.endlessly()

    def drips(self):
        self.head(Content_Length=len(CONTENT))
        self.drop_by_drop(CONTENT)

    def drips_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drop_by_drop(b"X-Padding: " + b"x" * 5000)

    def drop_by_drop(self, content):
        for byte in content[:50]:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.1)

    def endless(self):
        self.head()
        self.endlessly()

    def endless_chunks(self):
        self.head(Transfer_Encoding="chunked")
        self.endlessly(b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT))

    def endlessly(self, piece=CONTENT):
        while True:
            self.wfile.write(piece)
            self.server.sent += len(piece)

    def good_chunks(self):
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT))

    def broken_chunks(self):
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"zz\r\n" + CONTENT)

    def cut_chunks(self):
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n%s" % (len(CONTENT), CONTENT[:500_000]))

    def is_reset(self):
        self.head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:500_000])
        linger = (1).to_bytes(4, "little") + bytes(4)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def says_nothing(self):
        self.close_connection = True

    def says_nonsense(self):
        self.wfile.write(CONTENT)
        self.close_connection = True

    def has_many_headers(self):
        self.head(**{f"X-{i}": "x" for i in range(200)})

    def has_a_long_header(self):
        self.head(X="x" * 100_000)

    def sends_nothing(self):
        self.head("204 No Content")

    def of_several_parts(self):
        self.head("206 Partial Content", Content_Type="multipart/byteranges; boundary=x")
        self.wfile.write(CONTENT)

    def wrong_range(self):
        if not self.headers.get("Range"):
            return self.send(200, CONTENT)
        self.head("206 Partial Content", Content_Range=f"bytes 7-{len(CONTENT)}/{len(CONTENT)}")
        return self.wfile.write(CONTENT[7:])

    def always_in_part(self):
        self.head("206 Partial Content", Content_Range="bytes 7-9/10", Content_Length=len(CONTENT))
        self.wfile.write(CONTENT)

    def never_resumes(self):
        self.send(416 if self.headers.get("Range") else 200, CONTENT)

    def packs(self):
        self.head(Content_Encoding="gzip")
        self.wfile.write(gzip.compress(CONTENT))

    def packs_nothing(self):
        """As of an archive that is packed itself: the bytes are the file's."""
        self.head(Content_Encoding="gzip", Content_Length=len(CONTENT))
        self.wfile.write(CONTENT)

    def packs_endlessly(self):
        self.head(Content_Encoding="gzip")
        self.wfile.write(gzip.compress(bytes(10_000_000)))

    def packs_otherwise(self):
        self.head(Content_Encoding="zstd")
        self.wfile.write(CONTENT[::-1])

    def page_that_is_the_file(self):
        self.send(200, CONTENT, kind="text/html")


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked, server.sent = [], 0
    # Of clients that go away.
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No DNS lookups and no requests to other machines."""
    known = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **named):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


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
        ("error-page", "sent a web page"),
        ("error-page-as-file", "has another file, of 18 bytes \\(1024000 expected"),
        ("other-file", "wrong checksum"),
        ("breaks-off", "broke off"),
        ("breaks-off-without-length", "broke off after 500000 of 1024000 bytes"),
        ("stalls", "stalled for 1 s|stalled: [0-9]+ bytes received in 1 s"),
        ("two-lengths", "broke off"),
        ("a-length-of-a-terabyte", "has another file, of 1099511627776 bytes"),
        ("to-no-address", "redirected to .*: not a usable address"),
        ("to-a-wrong-port", "redirected to .*: not a usable address"),
        ("to-a-word-port", "redirected to .*: not a usable address"),
        ("to-a-long-host", "not a usable address"),
        ("to-a-long-path", "answered 414|broke off"),
        ("to-an-empty-label", "not a usable address"),
        ("to-bytes", "not a usable address|cannot be reached"),
        ("to-a-file", "redirected to .*: addresses must be https"),
        ("to-plain-http", "redirected to http://example.org/file\\?...: addresses must be https"),
        ("to-itself", "redirected more than 10 times"),
        ("to-nowhere", "answered 302"),
        ("drips", "stalled: [0-9]+ bytes received in 1 s, less than 100000 a second"),
        ("drips-head", "stalled: 0 bytes received in 1 s"),
        ("endless", "sent more than the expected 1024000 bytes"),
        ("endless-chunks", "sent more than the expected 1024000 bytes"),
        ("broken-chunks", "broke off"),
        ("cut-chunks", "broke off"),
        ("is-reset", "broke off"),
        ("says-nothing", "broke off|cannot be reached"),
        ("says-nonsense", "broke off|cannot be reached"),
        ("has-many-headers", "broke off|cannot be reached"),
        ("has-a-long-header", "broke off|cannot be reached"),
        ("sends-nothing", "answered 204"),
        ("always-in-part", "sent bytes from 7, not from 0"),
        ("of-several-parts", "sent a multipart response"),
        ("packs-endlessly", "sent more than the expected 1024000 bytes"),
        ("packs-otherwise", "wrong checksum, and an encoding that was not requested"),
    ],
)
def test_a_bad_server_is_reported_and_the_next_mirror_tried(tmp_path, address, page, reason, tally):
    path = tmp_path / "file"
    limits = QUICK if page in STALLING else PATIENT
    with pytest.raises(InputError, match=f"file: missing.*{page}: ({reason})") as error:
        fetch(path, [address(page)], SHA256, len(CONTENT), limits)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600
    assert "s3cret" not in str(error.value)
    assert not path.exists()
    both = [address(page), address("good")]
    assert fetch(path, both, SHA256, len(CONTENT), limits).read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]
    tally["bad mirrors survived"] += 1


@pytest.mark.faults
@pytest.mark.parametrize(
    "page",
    [
        *("length-is-no-number", "length-is-negative", "length-of-5000-digits", "to-the-file"),
        *("length-is-missing", "to-the-file-endlessly", "good-chunks", "wrong-range", "packs"),
        *("packs-nothing", "page-that-is-the-file", "never-resumes"),
    ],
)
@pytest.mark.parametrize("part", [None, CONTENT[:1000], b"x" * 1000, CONTENT + b"x", CONTENT[:-1]])
def test_a_server_that_is_odd_still_gives_the_file(tmp_path, address, page, part, tally):
    path = tmp_path / "file"
    if part:
        (tmp_path / "file.part").write_bytes(part)
    fetch(path, [address(page)], SHA256, len(CONTENT), PATIENT)
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]
    tally["odd mirrors used"] += 1


@pytest.mark.parametrize("page", ["good", "no-resume", "never-resumes", "wrong-range", "packs"])
@pytest.mark.parametrize("part", [b"x" * 1000, CONTENT + b"x", CONTENT[1:]])
def test_a_part_of_another_file_is_no_hindrance(tmp_path, address, page, part):
    """Of a file whose size is not known, too, and with one mirror alone."""
    (tmp_path / "file.part").write_bytes(part)
    fetch(tmp_path / "file", [address(page)], SHA256, limits=PATIENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_too_large_is_not_asked_for_a_rest(tmp_path, server, address):
    (tmp_path / "file.part").write_bytes(CONTENT + b"x")
    fetch(tmp_path / "file", [address("good")], SHA256, len(CONTENT), PATIENT)
    assert server.asked == [("/good", None)]


def test_a_mirror_of_another_file_does_not_cost_what_came(tmp_path, server, address):
    path = tmp_path / "file"
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:1000])
    with pytest.raises(InputError, match=r"error-page: .*missing: .*the partial download is kept"):
        pages = [address(page) for page in ("error-page", "missing", "a-length-of-a-terabyte")]
        fetch(path, [*pages, address("error-page-as-file")], SHA256, len(CONTENT), PATIENT)
    assert part.read_bytes() == CONTENT[:1000]


def test_an_endless_answer_is_stopped_at_the_size_or_at_the_most(
    tmp_path, server, address, monkeypatch
):
    for page in ("endless", "endless-chunks"):
        server.sent = 0
        with pytest.raises(InputError, match="sent more than the expected 1024000 bytes"):
            fetch(tmp_path / "file", [address(page)], SHA256, len(CONTENT), PATIENT)
        # What is on its way, in buffers, is no more than megabytes.
        assert server.sent < 50 * len(CONTENT)
    monkeypatch.setattr("early_exit.io.downloads.LARGEST", 5_000_000)
    with pytest.raises(InputError, match="sent more than the expected 5000000 bytes"):
        fetch(tmp_path / "file", [address("endless")], SHA256, limits=PATIENT)
    with pytest.raises(InputError, match=r"has another file, of 1099511627776 bytes .5000000 at m"):
        fetch(tmp_path / "file", [address("a-length-of-a-terabyte")], SHA256, limits=PATIENT)
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_has_so_long_and_no_longer(tmp_path, address):
    began = time.monotonic()
    limits = Limits(connect=2, silence=2, rate=0, window=1, whole=1)
    with pytest.raises(InputError, match=r"drips: not finished after 1 s"):
        fetch(tmp_path / "file", [address("drips")], SHA256, limits=limits)
    assert time.monotonic() - began < 10


def test_a_password_in_an_address_is_not_shown(tmp_path, server):
    host = f"127.0.0.1:{server.server_port}"
    addresses = [
        f"http://somebody:s3cret@{host}/missing",
        f"http://somebody:s3cret@{host}/missing?key=s3cret#s3cret",
        "http://somebody:s3cret@127.0.0.1:1/",
        "https://somebody:s3cret@127.0.0.1:1/s?a=s3cret",
        "http://somebody:s3cret@[::1/",
        "http://somebody:s3cret@127.0.0.1:99999/",
        f"http://s3cret:@{'a' * 70}.example.org/",
    ]
    for one in addresses:
        with pytest.raises(InputError) as error:
            fetch(tmp_path / "file", [one], SHA256, len(CONTENT), PATIENT)
        message = str(error.value)
        assert "s3cret" not in message and "somebody" not in message, message
        assert message.isprintable()
    assert shown(addresses[1]) == f"http://{host}/missing?..."


def test_a_password_is_sent_where_it_belongs(tmp_path, server):
    """And the address is good."""
    address = f"http://somebody:s3cret@127.0.0.1:{server.server_port}/good"
    assert (
        fetch(tmp_path / "file", [address], SHA256, len(CONTENT), PATIENT).read_bytes() == CONTENT
    )


@pytest.mark.parametrize(
    "address",
    [
        *(
            "https://[::1",
            "https://a..b/",
            "https://",
            "https:///f",
            "https://a b/",
            "https://\xff/",
        ),
        *(
            "https://127.0.0.1:99999/",
            "https://127.0.0.1:x/",
            f"https://{'a' * 64}.org/",
            "https://*",
        ),
        *("https://xn--/", "https://127.0.0.1:1/\r\nHost: x", f"https://{'a' * 100_000}/", "//x"),
        *("https://127.0.0.1:0/", "https://%00/", "https://\udcff/", "\x1b[31m", "https://[v1.x]/"),
    ],
)
def test_an_address_that_is_none_is_a_line_and_the_next_is_asked(tmp_path, server, address):
    good = f"http://127.0.0.1:{server.server_port}/good"
    assert fetch(tmp_path / "file", [address, good], SHA256, limits=PATIENT).read_bytes() == CONTENT
    with pytest.raises(InputError, match="missing, and no mirror provided it") as error:
        fetch(tmp_path / "other", [address], SHA256, limits=PATIENT)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


def test_many_bad_mirrors_are_one_line(tmp_path):
    with pytest.raises(InputError, match="; and 194 more") as error:
        fetch(tmp_path / "file", ["ftp://x/" + "y" * 500] * 200, SHA256, limits=PATIENT)
    assert len(str(error.value)) < 1500


def test_no_connection_is_trusted_unseen(tmp_path, server, address, monkeypatch):
    """Not TLS at all, and TLS with a certificate that nobody signed."""
    plain = address("good").replace("http:", "https:")
    with pytest.raises(InputError, match="good: no trusted connection"):
        fetch(tmp_path / "file", [plain], SHA256, limits=PATIENT)
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    certificate = speak_tls(server, tmp_path)
    with pytest.raises(InputError, match=r"good: no trusted connection .*self.signed"):
        fetch(tmp_path / "file", [plain], SHA256, limits=PATIENT)
    # Where it is trusted, it is used; but from there to this machine no mirror may send.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert fetch(tmp_path / "file", [plain], SHA256, limits=PATIENT).read_bytes() == CONTENT
    with serving() as inner:
        server.target = f"http://127.0.0.1:{inner.server_port}/good"
        sending = plain.replace("good", "to-the-target")
        with pytest.raises(
            InputError, match="to-the-target: redirected to an address of this mach"
        ):
            fetch(tmp_path / "other", [sending], SHA256, limits=PATIENT)
        assert inner.asked == []


def speak_tls(server, folder):
    """Put TLS under a server; its certificate, which nobody signed."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    make += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return certificate


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing"])
def test_what_is_in_the_way_of_a_download_is_named(tmp_path, address, kind):
    part = tmp_path / "file.part"
    if kind == "folder":
        part.mkdir()
    elif kind == "pipe":
        os.mkfifo(part)
    else:
        part.symlink_to(tmp_path / "nowhere" / "file")
    with pytest.raises(
        InputError, match=r"file\.part: (not a file, and in the way|cannot be writ)"
    ):
        fetch(tmp_path / "file", [address("good")], SHA256, limits=PATIENT)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, server, address):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match=r"data: cannot be written \((File exists|Not a dir)"):
        fetch(tmp_path / "data" / "file", [address("good")] * 3, SHA256, limits=PATIENT)
    # Not a mirror's fault, so no mirror is tried.
    assert server.asked == []


def test_a_full_disk_is_named_once_and_what_came_is_kept(tmp_path, server, address):
    path = tmp_path / "file"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(
            InputError, match=r"file\.part: cannot be written .*the partial download is kept"
        ):
            fetch(path, [address("good")] * 3, SHA256, len(CONTENT), PATIENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(server.asked) == 1
    # Follow the message's advice.
    fetch(path, [address("good")], SHA256, len(CONTENT), PATIENT)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1][1], "it was not resumed"


def test_what_lies_there_and_is_no_file_is_named(tmp_path, address):
    (tmp_path / "file").mkdir()
    with pytest.raises(InputError, match="file: not a regular file; check"):
        fetch(tmp_path / "file", [address("good")], SHA256)


def test_an_unreachable_mirror_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be reached"):
        fetch(tmp_path / "file", ["http://127.0.0.1:1/file"], SHA256, limits=PATIENT)


def test_what_came_is_kept_and_resumed(tmp_path, server, address):
    path = tmp_path / "file"
    with pytest.raises(InputError):
        fetch(path, [address("breaks-off")], SHA256, limits=PATIENT)
    have = (tmp_path / "file.part").stat().st_size
    assert 400_000 < have <= 500_000
    fetch(path, [address("good")], SHA256, limits=PATIENT)
    assert server.asked[-1] == ("/good", f"bytes={have}-")
    assert path.read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_all(tmp_path, address):
    path = tmp_path / "file"
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert fetch(path, [address("no-resume")], SHA256).read_bytes() == CONTENT


def test_a_complete_part_is_not_downloaded_again(tmp_path, address):
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
        fetch(tmp_path / "file", [address], SHA256, limits=PATIENT)
    tally["hostile addresses refused"] += 1


def test_checked_files_are_named(tmp_path):
    good = {"a": "md5:" + hashlib.md5(b"a").hexdigest(), "b": hashlib.md5(b"b").hexdigest()}
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(InputError, match="b: missing; repair it"):
        check_files(tmp_path, good, "repair it")
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(InputError, match=r"b: damaged.*0 bytes.*; repair it"):
        check_files(tmp_path, good, "repair it")
    (tmp_path / "b").write_bytes(b"b")
    check_files(tmp_path, good, "repair it")


# Members other than regular files.
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


def test_an_archive_is_unpacked_completely(tmp_path):
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
def test_an_archive_with_members_outside_its_folder_is_refused(tmp_path, members, tally):
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
