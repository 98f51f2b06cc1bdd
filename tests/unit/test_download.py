"""Downloads of data sets from a site of this process: quick answers without one, and nothing half done."""

import contextlib
import hashlib
import http.server
import socket
import threading
import time

import numpy as np
import pytest
import requests
import scipy.io
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo

from ebm_tf.data import download, images, svhn
from ebm_tf.errors import ConfigError

FILE = "test_32x32.mat"
PROXIES = [name for lower in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (lower, lower.upper())]


class Site:
    """An HTTP server that counts requests, and a URL on it; behave(handler, content) answers them."""

    def __init__(self, content):
        self.asked, self.behave = [], lambda handler: send(handler, content)
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                with contextlib.suppress(OSError):  # the client has gone: it only asked whether there is an answer
                    site.behave(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def send(handler, content, length=None, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


@pytest.fixture
def mat_file(tmp_path, pixels):
    """SVHN's test file, of four images."""
    path = tmp_path / "outside" / FILE
    path.parent.mkdir()
    scipy.io.savemat(path, {"X": np.moveaxis(pixels, 0, -1), "y": np.uint8([[1], [9], [10], [3]])})
    return path


@pytest.fixture
def own(tmp_path, monkeypatch):
    """TFDS's own folder, not there yet; no proxies."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "tfds"


@pytest.fixture
def set_url(mat_file, monkeypatch):
    """Sets where the file is to be had, with its checksum."""

    def set_to(url):
        content = mat_file.read_bytes()
        info = UrlInfo(len(content), hashlib.sha256(content).hexdigest(), FILE)
        monkeypatch.setattr(svhn, "URL", url)
        monkeypatch.setattr(svhn.SvhnCroppedTest, "url_infos", {url: info})

    return set_to


@pytest.fixture
def site(mat_file, own, set_url):
    site = Site(mat_file.read_bytes())
    set_url(f"{site.address}/{FILE}")
    yield site
    site.server.shutdown()
    site.server.server_close()


def load():
    """The four images, in the order of their first pixels, since TFDS shuffles them."""
    return ordered(images.load("svhn_cropped", "test", None, 32))


def ordered(pixels):
    return pixels[np.lexsort(pixels.reshape(len(pixels), -1).T)]


def refusal():
    with pytest.raises(ConfigError) as error:
        load()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_working_site_is_downloaded_from(site, pixels):
    np.testing.assert_array_equal(load(), ordered(pixels))
    asked = len(site.asked)
    np.testing.assert_array_equal(load(), ordered(pixels))
    assert len(site.asked) == asked


def test_a_slow_site_is_waited_for(site, pixels):
    answer = site.behave
    site.behave = lambda handler: (time.sleep(0.2), answer(handler))
    np.testing.assert_array_equal(load(), ordered(pixels))


def test_proxies_of_the_environment_are_used(site, set_url, monkeypatch, pixels):
    """The host has no address: only the proxy knows it."""
    set_url(f"http://data.invalid/{FILE}")
    monkeypatch.setenv("http_proxy", site.address)
    np.testing.assert_array_equal(load(), ordered(pixels))
    assert set(site.asked) == {f"http://data.invalid/{FILE}"}


def test_no_network_is_said_at_once_and_writes_nothing(own, set_url):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{FILE}"
        set_url(url)
        line = refusal()
    assert line.startswith("--data_dir: expected a folder with svhn_cropped prepared for TFDS, or a network")
    assert "Connection refused" in line
    assert line.endswith(f"Put {FILE} ({url}) into {own}/downloads/manual, or give --data_dir")
    assert not own.exists()


def test_a_host_that_does_not_answer_is_not_waited_for(own, set_url, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and says nothing
        set_url(f"http://127.0.0.1:{silent.getsockname()[1]}/{FILE}")
        line = refusal()
    assert "no answer within 0.2 seconds" in line or "timed out" in line
    assert not own.exists()


def test_a_name_that_is_looked_up_for_ever_is_not_waited_for(own, set_url, monkeypatch):
    """requests' own time limit does not hold there."""
    ended = threading.Event()
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(download, "_ask", lambda url: ended.wait(30) and None)
    set_url(f"http://data.invalid/{FILE}")
    assert "no answer within 0.1 seconds" in refusal()
    ended.set()


def test_a_site_that_is_down_is_not_tried_again(site, own):
    site.behave = lambda handler: send(handler, b"", status=503)
    assert "HTTP status 503" in refusal()
    assert len(site.asked) == 1
    assert not own.exists()


def test_a_file_that_has_gone_is_one_line(site, own):
    site.behave = lambda handler: send(handler, b"", status=404)
    line = refusal()
    assert "HTTP code: 404" in line and f"into {own}/downloads/manual" in line


def test_a_download_that_breaks_leaves_nothing_that_counts(site, own, pixels):
    answer = site.behave

    def broken(handler):
        send(handler, b"x" * 1000, length=5000)
        handler.connection.shutdown(socket.SHUT_RDWR)

    site.behave = broken
    line = refusal()
    assert f"Put {FILE} (" in line and "no download: " in line
    assert list((own / svhn.SvhnCroppedTest.name).iterdir()) == []
    site.behave = answer
    np.testing.assert_array_equal(load(), ordered(pixels))


def test_a_file_put_there_by_hand_needs_no_network(own, set_url, mat_file, pixels):
    set_url(f"http://data.invalid/{FILE}")
    folder = own / "downloads" / "manual"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(mat_file.read_bytes())
    np.testing.assert_array_equal(load(), ordered(pixels))


def test_a_file_downloaded_before_needs_no_network(site, own, pixels):
    load()
    for folder in own.glob("svhn*"):
        folder.rename(folder.with_name("gone"))
    site.server.shutdown()
    site.server.server_close()
    np.testing.assert_array_equal(load(), ordered(pixels))


def test_one_host_that_answers_is_enough(site):
    urls = [f"http://data.invalid/{FILE}", f"{site.address}/a", f"{site.address}/b"]
    assert download._why_no_answer(urls) is None
    assert download._why_no_answer(urls[:1]) is not None


@pytest.mark.parametrize(
    ("name", "split", "files"),
    [
        ("cifar10", "train", ["cifar-10-binary.tar.gz"]),
        ("oxford_flowers102", "train", ["102flowers.tgz", "imagelabels.mat", "setid.mat"]),
        ("svhn_cropped", "test", [FILE]),
    ],
)
def test_the_missing_files_are_named(name, split, files, own, monkeypatch):
    def no_network(url, **_):
        raise requests.ConnectionError(f"no route to {url}")

    monkeypatch.setattr(download.requests, "get", no_network)
    with pytest.raises(ConfigError) as error:
        images.load(name, split, None, 32)
    hint = str(error.value).partition(". Put ")[2]
    assert [part.split()[0] for part in hint.partition(" into ")[0].split(", ")] == files
    assert "no route to http" in str(error.value)
    assert not own.exists()
