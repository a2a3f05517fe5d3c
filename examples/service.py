"""POST an image, get its class as JSON: `python service.py --port 8080`, in an export's folder.

Images that arrive within some milliseconds are classified as one batch.

Limits for each client: bytes, pixels and seconds. Limits for all clients together: connections,
images unpacked at the same time, and images that wait for a batch. Requests beyond these get the
status 503.
"""

import argparse
import io
import json
import queue
import socket
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from runner import EarlyExitRunner, ImageError

BUSY = {"error": "too many images; try again"}


class Batches:
    """Classifies images that arrive at about the same time as one batch, in a thread of its own."""

    def __init__(self, runner, settings):
        self.runner, self.settings = runner, settings
        # Bounded: a service that is too slow says so, and does not grow.
        self.waiting = queue.Queue(settings.queue)
        threading.Thread(target=self.work, daemon=True).start()

    def classify(self, image):
        """Class, exit (from 0) and uncertainty.

        Raises queue.Full if too many images wait, and TimeoutError if the answer takes too long.
        """
        answer = Future()
        self.waiting.put_nowait((image, answer))
        return answer.result(self.settings.seconds)

    def work(self):
        """Classify batches, for ever."""
        while True:
            images, answers = zip(*self.collected(), strict=True)
            try:
                results = self.runner.run(np.stack(images), self.settings.batch)
            except Exception as error:
                for answer in answers:
                    answer.set_exception(error)
            else:
                for answer, *found in zip(answers, *results, strict=True):
                    answer.set_result(found)

    def collected(self):
        """The next images: those that come within some milliseconds of the first."""
        batch = [self.waiting.get()]
        until = time.monotonic() + self.settings.wait_ms / 1000
        while len(batch) < self.settings.batch:
            try:
                batch.append(self.waiting.get(timeout=max(0, until - time.monotonic())))
            except queue.Empty:
                break
        return batch


class Service(ThreadingHTTPServer):
    """HTTP server for the runner of an export, within the limits of ``settings``."""

    daemon_threads = True
    # Pending connections; the system resets those beyond.
    request_queue_size = 256

    def __init__(self, runner, settings):
        self.runner, self.settings = runner, settings
        self.batches = Batches(runner, settings)
        self.slots = threading.BoundedSemaphore(settings.connections)
        self.workers = threading.BoundedSemaphore(settings.workers)
        # Start time of each request that is being read.
        self.reading = {}
        super().__init__((settings.host, settings.port), Request)

    def process_request(self, request, client_address):
        """Start a thread for the connection, or refuse it."""
        if not self.slots.acquire(blocking=False):
            self.refuse(request)
            return
        self.reading[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self.release(request)
            self.refuse(request)

    def process_request_thread(self, request, client_address):
        """Answer one request in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.release(request)

    def release(self, request):
        """Free the slot of a connection."""
        self.reading.pop(request, None)
        self.slots.release()

    def refuse(self, request):
        """Answer 503 without blocking."""
        with suppress(OSError):
            request.setblocking(False)
            request.send(b"HTTP/1.0 503 all connections are in use\r\nRetry-After: 1\r\n\r\n")
            # Unread bytes would reset the connection before the client reads the answer.
            request.recv(1 << 16)
        self.shutdown_request(request)

    def classified(self, content):
        """Status and answer for an image file's bytes."""
        if not self.workers.acquire(timeout=self.settings.seconds):
            return 503, BUSY
        try:
            image = self.runner.read(io.BytesIO(content), self.settings.max_pixels)
        except ImageError as error:
            return 400, {"error": f"no image that can be read ({error})"}
        finally:
            self.workers.release()
        try:
            prediction, taken, unsure = self.batches.classify(image)
        except (queue.Full, TimeoutError):
            return 503, BUSY
        name = self.runner.class_names[prediction]
        return 200, {"class": name, "exit": int(taken) + 1, "uncertainty": float(unsure)}

    def service_actions(self):
        """Close connections whose requests take too long; called at least twice a second."""
        latest = time.monotonic() - self.settings.seconds
        for request, since in list(self.reading.items()):
            if since < latest:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """Ignore clients that have disconnected."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Request(BaseHTTPRequestHandler):
    """One request: an image in, a class out."""

    def setup(self):
        """Limit the time for each packet to that for a request."""
        self.timeout = self.server.settings.seconds
        super().setup()

    def do_POST(self):
        """Classify the image in the body."""
        length = self.length()
        if length is None:
            return
        content = self.rfile.read(length)
        self.server.reading.pop(self.connection, None)
        if len(content) < length:
            self.answer(408, {"error": "the image was incomplete, or too slow"})
            return
        try:
            status, answer = self.server.classified(content)
        except Exception:
            self.answer(500, {"error": "internal error; see the log of the service"})
            raise
        self.answer(status, answer)

    def length(self):
        """Content length in bytes; or ``None``, and an answer, if it is not allowed."""
        text, largest = self.headers.get("Content-Length", ""), self.server.settings.max_bytes
        if not (text.isascii() and text.isdecimal()):
            self.answer(411, {"error": "set Content-Length to the size of the image"})
            self.let_finish()
        # int() refuses thousands of digits.
        elif len(text) > 20 or int(text) > largest:
            self.answer(413, {"error": f"images may have at most {largest} bytes"})
            self.let_finish()
        else:
            return int(text)
        return None

    def let_finish(self):
        """Read what a client still sends, for a moment: it may read the answer only afterwards."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            most, until = 4 * self.server.settings.max_bytes, time.monotonic() + 10
            while most > 0 and time.monotonic() < until:
                content = self.connection.recv(1 << 16)
                if not content:
                    break
                most -= len(content)

    def answer(self, status, content):
        """Send ``content`` as JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)


def arguments():
    """Settings from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=int, default=8080, help="port to listen on (8080); 0 for a free one"
    )
    for name, default, meaning in [
        (
            "seconds",
            10.0,
            "for sending a request; also for waiting for a worker, and for an answer",
        ),
        ("max-bytes", 10_000_000, "of an image file"),
        ("max-pixels", 25_000_000, "of an image; each takes up to 16 bytes"),
        ("connections", 64, "at the same time, each with a thread"),
        ("workers", 2, "images unpacked at the same time"),
        ("batch", 32, "images classified at the same time"),
        ("wait-ms", 2.0, "that the first image of a batch waits for others"),
        ("queue", 64, "images that wait for a batch"),
    ]:
        text = f"{meaning} ({default:,})"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    return parser.parse_args()


def main():
    """Serve until stopped."""
    settings = arguments()
    service = Service(EarlyExitRunner(Path(__file__).parent, threads=1), settings)
    print(f"serving at http://{settings.host}:{service.server_port}", flush=True)
    with suppress(KeyboardInterrupt):
        service.serve_forever()


if __name__ == "__main__":
    main()
