"""Fetching files: mirrors in order, resumed, timed out, checked before anything reads them."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pooch

from early_exit.errors import InputError

CHUNK = 1 << 16
# Seconds to connect, and of silence before a server counts as stalled.
TIMEOUT = (10.0, 30.0)
UNPACKING = ".unpacking-"
LOCAL = {"localhost", "127.0.0.1", "::1"}


def fetch(
    path: Path,
    mirrors: Sequence[str],
    sha256: str,
    timeout: tuple[float, float] = TIMEOUT,
) -> Path:
    """Make sure that ``path`` is the file with this checksum, downloading it if it is not there.

    A download goes to ``path`` + ``.part`` and is taken up again where it broke off, by this call
    at the next mirror or by a later one. It is renamed once its checksum is right; a whole file
    with a wrong checksum is deleted.

    Parameters
    ----------
    path
        Where the file lies or shall lie.
    mirrors
        Addresses of the same file, asked in this order; https unless local.
    sha256
        Its checksum, 64 hexadecimal digits.
    timeout
        Seconds to connect, and seconds of silence.

    Raises
    ------
    InputError
        If the file that is there is another one, or if no mirror gives the right one.
    """
    if path.exists():
        remedy = "check the checksum that was given, or move the file away to have it fetched"
        check_files(path.parent, {path.name: f"sha256:{sha256}"}, remedy)
        return path
    failures = []
    for address in mirrors:
        part = path.with_name(path.name + ".part")
        try:
            _check_address(address)
            path.parent.mkdir(parents=True, exist_ok=True)
            _download(address, part, timeout)
            _check_download(part, sha256)
        except (OSError, InputError) as error:
            failures.append(f"{address}: {_reason(error, timeout)}")
            continue
        part.replace(path)
        return path
    tried = "; ".join(failures) or "no addresses are given"
    raise InputError(
        f"{path}: not there, and no mirror gave it ({tried}); put the file there by hand, set"
        " data_dir to a folder that has it, or try again: what came is kept and resumed"
    )


def check_files(folder: Path, checksums: Mapping[str, str], remedy: str) -> None:
    """Check the files of a folder before anything parses them.

    Parameters
    ----------
    checksums
        Hexadecimal digests by file name, ``sha256:`` in front where they are not MD5.

    Raises
    ------
    InputError
        Naming the first file that is missing, truncated or changed, and ``remedy``.
    """
    for name, checksum in checksums.items():
        path = folder / name
        algorithm, _, digest = checksum.rpartition(":")
        if not path.is_file():
            raise InputError(f"{path}: missing; {remedy}")
        try:
            found = pooch.file_hash(str(path), alg=algorithm or "md5")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
        if found != digest:
            raise InputError(
                f"{path}: damaged, or another file ({path.stat().st_size} bytes,"
                f" {algorithm or 'md5'} {found[:12]}..., expected {digest[:12]}...); {remedy}"
            )


def unpack(archive: Path, folder: Path, member: str) -> None:
    """Unpack the folder ``member`` of a tar archive into ``folder``; whole, or not at all.

    Only plain files and folders that stay inside are taken: no links, no absolute paths, no ``..``.

    Raises
    ------
    InputError
        If the archive is damaged, is no archive, or lacks the member.
    """
    # What a job that was killed left behind.
    for rest in folder.glob(f"{UNPACKING}*"):
        shutil.rmtree(rest, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNPACKING) as temporary:
        try:
            with tarfile.open(archive) as tar:
                _refuse_strangers(tar, archive)
                # PEP 706's filter, where this Python has it (3.11.4 and later).
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(temporary)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(f"{archive}: cannot be unpacked ({error}); delete it") from error
        unpacked = Path(temporary) / member
        if not unpacked.is_dir():
            raise InputError(f"{archive}: has no folder {member}; delete it")
        shutil.move(unpacked, folder / member)


def _refuse_strangers(tar: tarfile.TarFile, archive: Path) -> None:
    for member in tar.getmembers():
        parts = Path(member.name).parts
        inside = not Path(member.name).is_absolute() and ".." not in parts
        if not inside or not (member.isfile() or member.isdir()):
            raise InputError(
                f"{archive}: the member {member.name!r} is a link or leaves its folder; not"
                " unpacked, delete the archive"
            )


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
        raise InputError("addresses must be https unless they are local")


def _download(address: str, part: Path, timeout: tuple[float, float]) -> None:
    """Append what is missing of ``part``; start over where the server cannot resume."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(address, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416:
            # Nothing is left to send: the checksum tells whether it is the file.
            return
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise InputError("a web page came in place of the file")
        resumed = answer.status_code == 206
        length = int(answer.headers.get("Content-Length", 0))
        _write(answer, part, have if resumed else 0, length)


def _write(answer, part: Path, offset: int, length: int) -> None:
    from tqdm import tqdm

    progress = tqdm(
        desc=part.stem,
        total=offset + length or None,
        initial=offset,
        unit="B",
        unit_scale=True,
        disable=None,
    )
    with progress, open(part, "ab" if offset else "wb") as file:
        for chunk in answer.iter_content(CHUNK):
            file.write(chunk)
            progress.update(len(chunk))
    if length and part.stat().st_size < offset + length:
        raise InputError(f"broke off after {part.stat().st_size} of {offset + length} bytes")


def _check_download(part: Path, sha256: str) -> None:
    found = pooch.file_hash(str(part), alg="sha256") if part.exists() else "nothing"
    if found != sha256:
        size = part.stat().st_size if part.exists() else 0
        part.unlink(missing_ok=True)
        raise InputError(
            f"wrong checksum ({size} bytes, sha256 {found[:12]}..., expected {sha256[:12]}...)"
        )


def _reason(error: Exception, timeout: tuple[float, float]) -> str:
    import requests

    if isinstance(error, requests.exceptions.HTTPError):
        return f"answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error).lower():
        return f"stalled for {timeout[1]:g} s"
    if isinstance(error, requests.exceptions.RequestException):
        return f"cannot be reached ({type(error).__name__})"
    return str(error)
