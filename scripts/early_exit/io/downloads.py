"""Download files from mirrors, with resume, limits and checksums."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from early_exit.errors import InputError, reason_of

if TYPE_CHECKING:
    from early_exit.io.mirror import Limits, Transfer

# Most bytes of a file whose size is not known.
LARGEST = 8 << 30
# Most mirrors in a message.
NAMED = 6
UNPACKING = ".unpacking-"
AGAIN = "put the file there by hand, set data_dir to a folder that has it, or try again"


def fetch(
    path: Path,
    mirrors: Sequence[str],
    sha256: str,
    size: int | None = None,
    limits: Limits | None = None,
) -> Path:
    """Return ``path`` after checking that it has this checksum, downloading it if it is missing.

    A download is written to ``path`` + ``.part`` and renamed when its checksum is verified. An
    interrupted one is resumed, at the next mirror or by a later call; a complete file with a wrong
    checksum is deleted. After any error at a mirror the next one is tried.

    Parameters
    ----------
    path
        Path of the file.
    mirrors
        Addresses of the same file, tried in this order; https unless local.
    sha256
        Its checksum, 64 hexadecimal digits.
    size
        Its size in bytes, if known; no mirror may send more.
    limits
        Time limits of a mirror.

    Raises
    ------
    InputError
        If an existing file has another checksum, no mirror provides the file, or it cannot be
        written.
    """
    if path.exists():
        remedy = "check the configured checksum, or move the file away to have it downloaded"
        check_files(path.parent, {path.name: f"sha256:{sha256}"}, remedy)
        return path
    # Imported here: without a download, requests need not be installed.
    from early_exit.io.mirror import Limits, MirrorError, shown

    part = path.with_name(path.name + ".part")
    failures = []
    for address in mirrors:
        try:
            _make_way(part)
            _fetch_from(address, part, sha256, size, limits or Limits())
            part.replace(path)
        except MirrorError as error:
            failures.append(f"{shown(address)}: {error}")
            continue
        except OSError as error:
            if error.errno is None:
                raise
            raise InputError(
                f"{error.filename or part}: cannot be written ({error.strerror})",
                "fix that and run again: the partial download is kept and resumed",
            ) from error
        return path
    tried = "; ".join(failures[:NAMED]) or "no addresses are given"
    if len(failures) > NAMED:
        tried += f"; and {len(failures) - NAMED} more"
    kept = ": the partial download is kept and resumed" if part.exists() else ""
    raise InputError(f"{path}: missing, and no mirror provided it ({tried})", f"{AGAIN}{kept}")


def _make_way(part: Path) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    if part.exists() and not part.is_file():
        raise InputError(f"{part}: not a file, and in the way of the download", "move it away")


def _fetch_from(address: str, part: Path, sha256: str, size: int | None, limits: Limits) -> None:
    """Complete ``part``; start over if its content does not belong to the file.

    Raises
    ------
    MirrorError
        If this mirror does not provide it. A partial download is kept.
    """
    from early_exit.io.mirror import MirrorError

    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        have = 0
    for offset in (have, 0) if have else (0,):
        try:
            encoding = _download(address, part, offset, size, limits)
            _check_download(part, sha256, encoding, size)
            return
        except _NotResumed as error:
            failure = error
        except _OtherFile as error:
            part.unlink(missing_ok=True)
            failure = error
    raise MirrorError(str(failure)) from failure


class _OtherFile(Exception):
    """The download is complete, and another file."""


class _NotResumed(Exception):
    """The server does not send the rest, but may send the complete file."""


def check_files(folder: Path, checksums: Mapping[str, str], remedy: str) -> None:
    """Check the files of a folder before anything parses them.

    Parameters
    ----------
    checksums
        Hexadecimal digests by file name, MD5 or prefixed with ``sha256:``.

    Raises
    ------
    InputError
        If a file is missing, truncated or changed, with ``remedy``.
    """
    for name, checksum in checksums.items():
        path = folder / name
        algorithm, _, digest = checksum.rpartition(":")
        if not path.is_file():
            what = "not a regular file" if path.exists() else "missing"
            raise InputError(f"{path}: {what}", remedy)
        try:
            found = _digest(path, algorithm or "md5")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})", remedy) from error
        if found != digest:
            raise InputError(
                f"{path}: damaged, or another file ({path.stat().st_size} bytes,"
                f" {algorithm or 'md5'} {found[:12]}..., expected {digest[:12]}...)",
                remedy,
            )


def unpack(archive: Path, folder: Path, member: str) -> None:
    """Unpack the folder ``member`` of a tar archive into ``folder``, completely or not at all.

    Links, devices, absolute paths and ``..`` are refused.

    Raises
    ------
    InputError
        If the archive is damaged, is no archive, or lacks the member.
    """
    # Remains of killed jobs.
    for rest in folder.glob(f"{UNPACKING}*"):
        shutil.rmtree(rest, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNPACKING) as temporary:
        try:
            with tarfile.open(archive) as tar:
                _check_members(tar, archive)
                # PEP 706's filter, where this Python has it (3.11.4 and later).
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(temporary)
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
            if getattr(error, "errno", None) is not None:
                # Not the archive's fault: a full disk, for example.
                raise
            raise InputError(
                f"{archive}: cannot be unpacked ({reason_of(error)})", "delete it"
            ) from error
        unpacked = Path(temporary) / member
        if not unpacked.is_dir():
            raise InputError(f"{archive}: has no folder {member}", "delete it")
        shutil.move(unpacked, folder / member)


def _check_members(tar: tarfile.TarFile, archive: Path) -> None:
    for member in tar.getmembers():
        parts = Path(member.name).parts
        inside = not Path(member.name).is_absolute() and ".." not in parts
        if not inside or not (member.isfile() or member.isdir()):
            raise InputError(
                f"{archive}: not unpacked: the member {member.name!r} is a link or outside the"
                " folder",
                "delete the archive",
            )


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _download(address: str, part: Path, have: int, size: int | None, limits: Limits) -> str:
    """Append the missing bytes to the first ``have`` of ``part``, or write all that is sent.

    Returns
    -------
    str
        The content encoding that the server reports.
    """
    from early_exit.io.mirror import MirrorError, Transfer

    if have and have == size:
        return ""
    with Transfer(address, have, limits) as transfer:
        answer = transfer.answer
        if answer.status == 416:
            if not have or size is not None:
                raise _NotResumed("answered 416")
            # No bytes remain; the checksum decides.
            return ""
        offset = have if answer.status == 206 else 0
        if answer.start not in (None, offset):
            raise _NotResumed(f"sent bytes from {answer.start}, not from {offset}")
        # The length of compressed content is another one.
        whole = None if answer.encoding or answer.length is None else offset + answer.length
        if answer.page and (size is None or whole != size):
            raise MirrorError("sent a web page instead of the file")
        if whole is not None and (whole != size if size is not None else whole > LARGEST):
            expected = f"{size}" if size is not None else f"{LARGEST} at most"
            raise MirrorError(f"has another file, of {whole} bytes ({expected} expected)")
        _write(transfer, part, offset, size if whole is None else whole, size or LARGEST)
        return answer.encoding


def _write(transfer: Transfer, part: Path, offset: int, whole: int | None, most: int) -> None:
    from tqdm import tqdm

    from early_exit.io.mirror import MirrorError

    have = offset
    progress = tqdm(
        desc=part.stem, total=whole, initial=have, unit="B", unit_scale=True, disable=None
    )
    with progress, open(part, "r+b" if offset else "wb") as file:
        file.seek(offset)
        for chunk in transfer.chunks():
            have += len(chunk)
            if have > most:
                raise _OtherFile(f"sent more than the expected {most} bytes")
            file.write(chunk)
            progress.update(len(chunk))
    if whole is not None and have < whole and not transfer.answer.encoding:
        raise MirrorError(f"broke off after {have} of {whole} bytes")


def _check_download(part: Path, sha256: str, encoding: str, size: int | None) -> None:
    """Verify the checksum of ``part``, decompressing it first if necessary.

    Some servers report the compression of an archive as its content encoding.
    """
    found = _digest(part, "sha256")
    if found == sha256:
        return
    if encoding:
        _unpack_body(part, encoding, size or LARGEST)
        found = _digest(part, "sha256")
    if found != sha256:
        raise _OtherFile(
            f"wrong checksum ({part.stat().st_size} bytes, sha256 {found[:12]}..., expected"
            f" {sha256[:12]}...)"
        )


def _unpack_body(part: Path, encoding: str, most: int) -> None:
    """Replace ``part`` with its decompressed content."""
    if encoding not in ("gzip", "x-gzip"):
        raise _OtherFile("wrong checksum, and an encoding that was not requested")
    unpacked = part.with_name(part.name + "-unpacked")
    written = 0
    try:
        with gzip.open(part) as packed, open(unpacked, "wb") as file:
            while piece := packed.read(1 << 20):
                written += len(piece)
                if written > most:
                    raise _OtherFile(f"sent more than the expected {most} bytes")
                file.write(piece)
        unpacked.replace(part)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _OtherFile(
            f"wrong checksum, and not encoded as reported ({reason_of(error)})"
        ) from error
    finally:
        unpacked.unlink(missing_ok=True)
