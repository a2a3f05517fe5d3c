"""The door "downloads": servers that misbehave at random, before one that does not.

Whatever they send, the good one that follows gives the file; alone, they give it or a line.
"""

import gzip
import hashlib
import socket
import socketserver
import struct
import threading
import time
from pathlib import Path

import pytest

from early_exit.io.downloads import fetch
from early_exit.io.mirror import Limits
from fuzzing import CASES, generator, taken_or_refused

DOOR = "downloads"
CONTENT = generator(DOOR, 0).bytes(30_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMITS = Limits(connect=10.0, silence=2.0, rate=1e4, window=3.0, whole=10.0)

LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 206 Partial Content",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 416 Range Not Satisfiable",
    b"HTTP/1.1 302 Found",
    b"HTTP/1.1 307 Temporary Redirect",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 503 Busy",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 -1 OK",
    b"HTTP/9.9 200",
    b"HTTP/1.1",
    b"200 OK",
    b"",
]
LENGTHS = [
    b"%d" % len(CONTENT),
    b"0",
    b"-1",
    b"1e4",
    b"9" * 5000,
    b"5, 6",
    b"\xff",
    b"12345678",
    b"",
]
RANGES = [b"bytes 0-", b"bytes 7-29999/30000", b"bytes */30000", b"bytes 99999999-", b"x", b"bytes"]
PLACES = [
    *(b"/good", b"/loop", b"http://[::1", b"https://a..b/", b"//", b"http://127.0.0.1:99999/", b""),
    *(b"https://127.0.0.1:1/", b"http://example.org/", b"file:///etc/passwd", b"\xff\xfe://\xff"),
    *(b"/" + b"a" * 60_000, b"https://" + b"a" * 3000, b"ftp://x/", b"javascript:1", b"?", b"\x00"),
]
CODINGS = [b"gzip", b"br", b"deflate", b"gzip, gzip", b"identity", b"\xff"]
KINDS = [b"text/html", b"multipart/byteranges; boundary=x", b"application/gzip", b"\xff"]


class Bad(socketserver.BaseRequestHandler):
    """Answers by the number in the path that it is asked for."""

    def handle(self):
        asked = b""
        while b"\r\n\r\n" not in asked and (more := self.request.recv(65_536)):
            asked += more
            if not asked.startswith(b"GET"):
                # TLS, which this is not.
                return
        path = asked.partition(b" ")[2].partition(b" ")[0]
        if not path.startswith(b"/bad/"):
            self.good(asked)
            return
        self.rng = generator(DOOR, int(path.rpartition(b"/")[2]))
        self.head()
        self.body()
        if self.chance(0.15):
            # A reset in place of an end.
            linger = struct.pack("ii", 1, 0)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def good(self, asked):
        start = 0
        if b"Range: bytes=" in asked:
            start = int(asked.partition(b"Range: bytes=")[2].partition(b"-")[0])
        status = b"206 Partial Content" if start else b"200 OK"
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(CONTENT) - start)
        if start >= len(CONTENT):
            head = b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n"
        self.request.sendall(head + CONTENT[start:])

    def chance(self, probability):
        return self.rng.random() < probability

    def one_of(self, options):
        return options[self.rng.integers(len(options))]

    def head(self):
        self.chunked = self.chance(0.2)
        lines = [self.one_of(LINES)]
        for name, values, probability in (
            (b"Content-Length", LENGTHS, 0.6),
            (b"Content-Range", RANGES, 0.2),
            (b"Location", PLACES, 0.5),
            (b"Content-Encoding", CODINGS, 0.2),
            (b"Content-Type", KINDS, 0.3),
        ):
            # Sometimes it appears twice.
            for _ in range(self.chance(probability) + self.chance(0.05)):
                lines.append(name + b": " + self.one_of(values))
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked")
        if self.chance(0.1):
            lines.append(self.one_of([b"no colon", b": x", b"X: " + b"y" * 70_000, b"\x00: \x00"]))
        if self.chance(0.05):
            lines += [b"X: y"] * 200
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        if self.chance(0.05):
            head = head[: self.rng.integers(len(head))]
        self.request.sendall(head)

    def body(self):
        body = CONTENT
        kind = self.rng.integers(8)
        if kind == 0:
            body = gzip.compress(CONTENT)
        elif kind == 1:
            body = self.rng.bytes(self.rng.integers(1, 60_000))
        elif kind == 2:
            body = CONTENT[: self.rng.integers(len(CONTENT))]
        elif kind == 3:
            body = CONTENT + b"x"
        elif kind == 4:
            body = CONTENT * 50
        elif kind == 5:
            body = b"<html>Sorry</html>"
        if self.chunked:
            size = self.one_of(
                [b"%x" % len(body), b"%x" % len(body), b"zz", b"-1", b"f" * 5000, b""]
            )
            end = self.one_of([b"\r\n0\r\n\r\n", b"\r\n0\r\n\r\n", b"\r\n", b""])
            body = size + b"\r\n" + body + end
        if self.chance(0.02):
            # Held up, or drop by drop.
            for byte in body[:30]:
                self.request.sendall(bytes([byte]))
                time.sleep(0.1)
        self.request.sendall(body)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        """Of clients that go away."""


@pytest.fixture(scope="module")
def address():
    with Server(("127.0.0.1", 0), Bad) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No name is looked up, and no other machine is asked."""
    known = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **named):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.faults
def test_whatever_a_mirror_does_the_next_one_gives_the_file(address, tmp_path, tally):
    for case in range(1, CASES + 1):
        rng = generator(DOOR, case)
        folder = tmp_path / str(case)
        folder.mkdir()
        if rng.random() < 0.3:
            kept = [CONTENT[:999], rng.bytes(999), CONTENT + b"x", CONTENT[:-1], b""]
            (folder / "file.part").write_bytes(kept[rng.integers(len(kept))])
        size = len(CONTENT) if rng.random() < 0.5 else None
        arguments = (SHA256, size, LIMITS)
        bad = [f"{address}/bad/{case}"]
        path, line = taken_or_refused(fetch, folder / "file", bad, *arguments)
        if path is None:
            assert line.startswith(f"{folder / 'file'}: missing, and no mirror provided it (")
            assert left(folder) <= {"file.part"}
            both = [*bad, f"{address}/good"]
            path, line = taken_or_refused(fetch, folder / "file", both, *arguments)
        assert line is None, f"case {case}: {line}"
        assert path.read_bytes() == CONTENT, f"case {case}"
        assert left(folder) == {"file"}, f"case {case}"
        tally[f"fuzzed {DOOR}"] += 1


@pytest.mark.faults
def test_whatever_is_given_as_an_address_the_next_one_gives_the_file(address, tmp_path, tally):
    good = f"{address}/good"
    for case in range(CASES):
        rng = generator(f"{DOOR}: addresses", case)
        text = [*f"https://user:pw@{address.removeprefix('http://')}/good?a=b#c"]
        for _ in range(rng.integers(1, 8)):
            place = rng.integers(len(text))
            odd = [
                *":/@?#[]%\\ .",
                "\x00",
                "\n",
                "\x1b[31m",
                "é",
                "\udcff",
                "\N{FULLWIDTH DIGIT ONE}",
                "",
                "a" * 300,
                "%",
            ]
            text[place] = odd[rng.integers(len(odd))]
        odd = "".join(text)
        path, line = taken_or_refused(
            fetch, tmp_path / str(case), [odd, good], SHA256, len(CONTENT), LIMITS
        )
        assert line is None, f"{odd!r}: {line}"
        assert path.read_bytes() == CONTENT
        path, line = taken_or_refused(
            fetch, tmp_path / f"{case} alone", [odd], SHA256, len(CONTENT), LIMITS
        )
        assert path is not None or line.startswith(f"{tmp_path}/{case} alone: missing"), odd
        tally[f"fuzzed {DOOR}"] += 1
