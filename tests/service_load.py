"""Load of the service by 50 clients, with batches and without: the table of docs/deployment.md.

    python tests/service_load.py results/X/export IMAGES

Clients, in a process of their own, share the machine with the service.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

SERVICE = Path(__file__).parents[1] / "examples/service.py"
CLIENTS, REQUESTS = 50, 4000
WAYS = {"as they come, one by one": ("--batch", "1"), "in batches of up to 32": ()}


def asked(port: int, content: bytes) -> tuple[float, int, str]:
    """Seconds, status and class of one request."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", content)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return time.perf_counter() - start, answer.status, found.get("class", "")


def load(folder: Path, contents: list[bytes], settings: tuple[str, ...]) -> dict[str, float | list]:
    """Requests a second, percentiles in ms, and the answers."""
    command = [sys.executable, "-u", str(folder / "service.py"), "--port", "0", *settings]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **quiet) as service:
        try:
            port = int(service.stdout.readline().rpartition(":")[2])
            asked(port, contents[0])
            start = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as clients:
                found = list(clients.map(lambda content: asked(port, content), contents))
            taken = time.perf_counter() - start
        finally:
            service.terminate()
    seconds, statuses, classes = zip(*found, strict=True)
    p50, p99 = 1e3 * np.percentile(seconds, (50, 99))
    return {
        "rate": len(contents) / taken,
        "p50": p50,
        "p99": p99,
        "lost": sum(status != 200 for status in statuses),
        "classes": list(classes),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help="folder of an export")
    parser.add_argument("images", type=Path, help="folder of image files")
    given = parser.parse_args()
    shutil.copy(SERVICE, given.export)
    files = sorted(path for path in given.images.rglob("*") if path.is_file())
    contents = [files[k % len(files)].read_bytes() for k in range(REQUESTS)]
    print("| classified | requests a second | p50, ms | p99, ms | lost |\n|---|---|---|---|---|")
    before = None
    for name, settings in WAYS.items():
        own = load(given.export, contents, settings)
        print(
            f"| {name} | {own['rate']:.0f} | {own['p50']:.1f} | {own['p99']:.1f} | {own['lost']} |"
        )
        assert before in (None, own["classes"]), "other answers in batches"
        before = own["classes"]


if __name__ == "__main__":
    main()
