"""Download from one address, within limits of time.

The request runs in a thread of its own, since a server can stall every step of it (name, handshake,
headers, body) by sending a byte now and then, which no socket time-out detects. The caller waits on
a queue with a deadline and abandons the thread if necessary.
"""

from __future__ import annotations

import queue
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from early_exit.errors import plain, reason_of

CHUNK = 1 << 14
REDIRECTS = 10
LOCAL = {"localhost", "127.0.0.1", "::1"}
# Most characters of an address or a reason in messages.
SHOWN = 120


class MirrorError(Exception):
    """The reason why a mirror did not provide the file, in a few words."""


@dataclass(frozen=True)
class Limits:
    """Time limits of a mirror.

    Attributes
    ----------
    connect
        Seconds to connect.
    silence
        Seconds without data before a transfer counts as stalled.
    rate, window
        Least bytes a second, averaged over ``window`` seconds. The slowest known host sends 50,000.
    whole
        Seconds for the complete transfer.
    """

    connect: float = 10.0
    silence: float = 30.0
    rate: float = 5000.0
    window: float = 60.0
    whole: float = 6 * 3600.0


@dataclass(frozen=True)
class Answer:
    """Status and headers of a mirror's response.

    Attributes
    ----------
    status
        200 for the complete file, 206 for the rest of it, 416 if there is no rest.
    start
        Position in the file of the first byte that follows; ``None`` if not reported.
    length
        Number of bytes that follow; ``None`` if not reported or not valid.
    page
        Whether the content type is a web page.
    encoding
        Content encoding, such as ``gzip``; empty for none.
    """

    status: int
    start: int | None
    length: int | None
    page: bool
    encoding: str


class Transfer:
    """A running request, as a context manager: :attr:`answer`, then :meth:`chunks`.

    Raises
    ------
    MirrorError
        For any failure, from each of its methods.
    """

    def __init__(self, address: str, offset: int, limits: Limits) -> None:
        check_address(address)
        self.limits = limits
        self.began = time.monotonic()
        self._received: queue.Queue[Any] = queue.Queue(maxsize=64)
        self._ended = threading.Event()
        self._response: requests.Response | None = None
        self._thread = threading.Thread(target=self._run, args=(address, offset), daemon=True)

    def __enter__(self) -> Transfer:
        self._thread.start()
        self._window, self._came = self.began, 0
        try:
            self.answer: Answer = self._next()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they arrive, not decoded."""
        while (chunk := self._next()) is not None:
            self._came += len(chunk)
            yield chunk

    def _next(self) -> Any:
        """The next item from the thread."""
        limits = self.limits
        while True:
            now = time.monotonic()
            if now - self.began > limits.whole:
                raise MirrorError(f"not finished after {limits.whole:g} s")
            if now - self._window > limits.window and self._received.empty():
                if self._came < limits.rate * limits.window:
                    raise MirrorError(
                        f"stalled: {self._came} bytes received in {limits.window:g} s, less than"
                        f" {limits.rate:g} a second"
                    )
                self._window, self._came = now, 0
            until = min(self.began + limits.whole, self._window + limits.window)
            try:
                found = self._received.get(timeout=max(0.0, until - now) + 0.01)
            except queue.Empty:
                continue
            if isinstance(found, MirrorError):
                raise found
            return found

    def _end(self) -> None:
        """Stop the thread if possible; otherwise it ends with the process."""
        self._ended.set()
        raw = getattr(self._response, "raw", None)
        # shutdown() wakes a thread that is blocked in a read; close() would block too. It fails if
        # the thread has ended, and urllib3 before 2.3 does not have it.
        with suppress(AttributeError, OSError, RuntimeError, ValueError):
            raw.shutdown()
        self._thread.join(timeout=0.2)

    def _run(self, address: str, offset: int) -> None:
        try:
            with _Session() as session:
                response = self._response = _ask(session, address, offset, self.limits)
                with response:
                    self._hand_over(_answer(response))
                    for chunk in response.raw.stream(CHUNK, decode_content=False):
                        if not self._hand_over(chunk):
                            return
            self._hand_over(None)
        # Servers can make the libraries raise anything.
        except Exception as error:
            self._hand_over(_mirror_error(error, self.limits, self._response is not None))

    def _hand_over(self, what: Any) -> bool:
        """Pass an item to the caller; ``False`` if the transfer has ended."""
        while not self._ended.is_set():
            try:
                self._received.put(what, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False


def shown(address: str) -> str:
    """An address for messages, without passwords and query strings (which may have keys)."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        # Not a URL, but it may contain a password.
        return _cut(f"...{address.rpartition('@')[2]}".partition("?")[0])
    hidden = "?..." if parts.query else ""
    scheme = f"{parts.scheme}://" if host else ""
    return _cut(f"{scheme}{host}{parts.path}{hidden}")


def _cut(text: str) -> str:
    text = plain(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def check_address(address: str) -> bool:
    """Check that an address is https or local, and return whether it is local.

    Raises
    ------
    MirrorError
        If it is neither, or not an address.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise MirrorError(f"not a usable address ({_cut(str(error))})") from error
    local = parts.scheme == "http" and host in LOCAL
    if parts.scheme != "https" and not local:
        raise MirrorError("addresses must be https unless they are local")
    return local


class _Session(requests.Session):
    def resolve_redirects(self, *_: Any, **named: Any) -> Any:
        """No redirects: requests reads their bodies, of any length. :func:`_ask` follows them."""
        return iter(())


class _Checked(requests.adapters.HTTPAdapter):
    """Adapter that checks every address, redirects included."""

    def __init__(self, first: str) -> None:
        super().__init__()
        self.local = check_address(first)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> Any:
        if check_address(request.url or "") and not self.local:
            raise MirrorError("redirected to an address of this machine")
        return super().send(request, *arguments, **named)


def _ask(session: requests.Session, address: str, offset: int, limits: Limits) -> requests.Response:
    """The response of an address, after redirects."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Checked(address))
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    timeout = (limits.connect, limits.silence)
    for _ in range(REDIRECTS + 1):
        response = session.get(address, headers=headers, stream=True, timeout=timeout)
        target = session.get_redirect_target(response)
        if target is None:
            return response
        response.close()
        try:
            address = urljoin(response.url, target)
            check_address(address)
        except ValueError as error:
            raise MirrorError(f"redirected to {shown(target)}: not a usable address") from error
        except MirrorError as error:
            raise MirrorError(f"redirected to {shown(address)}: {error}") from error
    raise MirrorError(f"redirected more than {REDIRECTS} times")


def _answer(response: requests.Response) -> Answer:
    headers = response.headers
    status = response.status_code
    if status not in (200, 206, 416):
        raise MirrorError(f"answered {status}")
    kind = headers.get("Content-Type", "").strip().lower()
    if status == 206 and kind.startswith("multipart/"):
        raise MirrorError("sent a multipart response")
    part = re.match(r"\s*bytes\s+([0-9]{1,18})-", headers.get("Content-Range", ""), re.IGNORECASE)
    return Answer(
        status,
        int(part[1]) if part and status == 206 else None,
        _length(headers),
        kind.startswith(("text/html", "application/xhtml")),
        headers.get("Content-Encoding", "").strip().lower().removeprefix("identity"),
    )


def _length(headers: Any) -> int | None:
    reported = headers.get("Content-Length", "").strip()
    valid = re.fullmatch(r"[0-9]{1,18}", reported) and "Transfer-Encoding" not in headers
    return int(reported) if valid else None


def _mirror_error(error: Exception, limits: Limits, begun: bool) -> MirrorError:
    """An error in words without the address, which may contain a password."""
    known = requests.exceptions
    root = _root(error)
    if isinstance(error, MirrorError):
        return error
    if isinstance(error, known.ConnectTimeout):
        return MirrorError(f"cannot be reached (no connection in {limits.connect:g} s)")
    if isinstance(error, known.Timeout) or isinstance(root, TimeoutError):
        return MirrorError(f"stalled for {limits.silence:g} s")
    if isinstance(root, ssl.SSLError):
        return MirrorError(f"no trusted connection ({_cut(reason_of(root))})")
    if isinstance(error, known.ProxyError):
        return MirrorError("cannot be reached through the configured proxy")
    if isinstance(root, OSError) and root.strerror:
        what = "broke off" if begun else "cannot be reached"
        return MirrorError(f"{what} ({_cut(root.strerror)})")
    addresses = (known.InvalidURL, known.InvalidSchema, known.MissingSchema)
    other = isinstance(error, ValueError) and not isinstance(error, known.RequestException)
    if isinstance(error, addresses) or (other and not begun):
        return MirrorError("not a usable address")
    return MirrorError(f"broke off ({type(root).__name__})")


def _root(error: BaseException) -> BaseException:
    """Root cause of an error, which libraries wrap as a cause or as an argument."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = [error.__cause__, getattr(error, "reason", None), *error.args, error.__context__]
        error = next((one for one in inner if isinstance(one, BaseException)), error)
    return error
