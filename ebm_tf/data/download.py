"""Downloads: of data by TFDS, with an answer within seconds where there is none, and of single files.

TFDS alone retries for 3.5 minutes without a network, and waits without end for a host that does not answer.
"""

import glob
import hashlib
import os
import pathlib
import queue
import shutil
import tarfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Collection
from urllib.parse import urlsplit

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import resource
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.download.util import DownloadError

from ebm_tf.drafts import draft_of
from ebm_tf.errors import ConfigError, one_line

__all__ = ["fetch_member", "prepare"]

PATIENCE_SECONDS = 8.0  # to the first byte of a host; the download itself may take as long as it likes
TIMEOUT_SECONDS = 30  # of a single file's host
GIVES_NOTHING = (500, 502, 503, 504)  # the answers after which TFDS retries; it passes the others on at once


def prepare(builder: tfds.core.DatasetBuilder, name: str, urls: Collection[str] | None = None) -> None:
    """Downloads and prepares a data set in the builder's folder, unless it lies there: whole or not at all.

    Files that lie in the folder's downloads/manual, or were downloaded before, need no network.

    Args:
      builder: of the data set.
      name: of the folder that --data_dir would have to hold.
      urls: what the builder downloads. None: all that TFDS has checksums for under this name.

    Raises:
      ConfigError: no host of a missing file answers, or a download broke off. Names the files and where to put them.
    """
    if builder.data_path.exists():
        return
    downloads = pathlib.Path(builder.data_dir_root) / "downloads"
    missing = {
        url: info.filename
        for url, info in (builder.url_infos or {}).items()
        if (urls is None or url in urls) and url.startswith("http") and info.filename
        if not _is_there(downloads, url, info)
    }

    def failure(reason: str) -> ConfigError:
        return ConfigError(
            f"--data_dir: expected a folder with {name} prepared for TFDS, or a network to download it. Received: "
            f"data_dir=None, nothing in {builder.data_path}, and no download: {reason}. "
            + (f"Put {_listed(missing)} into {downloads / 'manual'}, or give --data_dir" if missing else "")
        )

    if missing and (reason := _why_no_answer(missing)):
        raise failure(reason)
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except (requests.RequestException, DownloadError) as error:
        raise failure(_reason(error)) from error


def _is_there(downloads: pathlib.Path, url: str, info: UrlInfo) -> bool:
    """Whether TFDS would take the file from a folder: put there by hand, or downloaded before."""
    kept = glob.escape(resource.get_dl_fname(url, info.checksum))
    return (downloads / "manual" / info.filename).exists() or any(downloads.rglob(kept))


def _listed(files: dict[str, str]) -> str:
    """The first three, with where they come from."""
    more = [f"{len(files) - 3} more"] if len(files) > 3 else []
    return ", ".join([f"{file} ({url})" for url, file in list(files.items())[:3]] + more)


def _why_no_answer(urls: Collection[str]) -> str | None:
    """None where one of the hosts answers; else what the last one that failed says."""
    one_of_each_host = {urlsplit(url).netloc: url for url in urls}
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for url in one_of_each_host.values():  # by threads: looking up a name knows no time limit
        threading.Thread(target=lambda url: answers.put(_ask(url)), args=(url,), daemon=True).start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    reason: str | None = f"no answer within {PATIENCE_SECONDS:g} seconds"
    for _ in one_of_each_host:
        try:
            reason = answers.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            break
        if reason is None:
            break
    return reason


def _ask(url: str) -> str | None:
    """Why a download could not begin, or None. Asks as TFDS does: the same proxies, certificates and redirects."""
    try:
        with requests.get(url, stream=True, timeout=PATIENCE_SECONDS) as response:
            return f"HTTP status {response.status_code}" if response.status_code in GIVES_NOTHING else None
    except (OSError, ValueError) as error:  # requests' own are OSErrors
        return _reason(error)


def _reason(error: Exception) -> str:
    """Without the layers around it: what urllib3 wraps says the most."""
    cause = error.args[0] if error.args else error
    return one_line(getattr(cause, "reason", error))


def fetch_member(url: str, name: str, size: int, sha256: str, path: pathlib.Path) -> None:
    """Takes one file of a .tar.gz into `path`, which appears whole and checked, or not at all.

    Args:
      url: of the archive.
      name: of the file, in any folder of the archive.
      size: of the file, in bytes.
      sha256: of the file.
      path: where it goes.

    Raises:
      OSError: there is no answer, or what came is another file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft_of(path, f"{os.getpid()}") as draft:
            _unpack(url, name, size, draft)
            found = hashlib.sha256(draft.read_bytes()).hexdigest()
            if found != sha256:
                raise OSError(f"a download with sha256 {found[:16]}... in place of {sha256[:16]}...")
    except (EOFError, tarfile.TarError, zlib.error) as error:
        raise OSError(one_line(error)) from error


def _unpack(url: str, name: str, size: int, target: pathlib.Path) -> None:
    """The file alone, from the archive as it streams in."""
    with (
        urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response,
        tarfile.open(fileobj=response, mode="r|gz") as archive,
    ):
        for member in archive:
            if pathlib.PurePath(member.name).name == name and member.size == size:
                source = archive.extractfile(member)  # None for what is not a plain file
                if source is not None:
                    with target.open("wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
                    return
    raise OSError(f"an archive without it at {size} bytes")
