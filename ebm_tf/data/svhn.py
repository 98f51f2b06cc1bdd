"""SVHN, cropped: only the 26,032 images of the split test.

TFDS's own svhn_cropped downloads three files, among them the 1.3 GB of the split extra. The builder here downloads
the test file alone, 64 MB, by TFDS's means and against TFDS's checksum, and lies beside it as svhn_cropped_test.
"""

from typing import Any

import tensorflow_datasets as tfds

from ebm_tf.data import download

__all__ = ["NAME", "URL", "SvhnCroppedTest", "builder"]

NAME = "svhn_cropped"
URL = "http://ufldl.stanford.edu/housenumbers/test_32x32.mat"

_Whole: Any = tfds.builder_cls(NAME)


class SvhnCroppedTest(_Whole):
    """svhn_cropped with the split test alone."""

    url_infos = _Whole.url_infos  # TFDS looks for checksums beside this file

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples("test_", dl_manager.download(URL))}


def builder(data_dir: str | None) -> tfds.core.DatasetBuilder:
    """A prepared data set with the split test.

    Args:
      data_dir: folder that holds svhn_cropped, prepared; nothing is downloaded then. None: TFDS's own folder: if
        svhn_cropped is there, this; else svhn_cropped_test, downloaded and prepared where missing.

    Raises:
      ConfigError: it cannot be downloaded.
    """
    whole = tfds.builder(NAME, data_dir=data_dir)
    if data_dir is not None or whole.data_path.exists():
        return whole
    test = SvhnCroppedTest()
    download.prepare(test, NAME, [URL])
    return test
