"""The progress of a training run, on a terminal and elsewhere."""

import io
import types

import pytest

from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import callbacks

CHAINS = {"num_steps_start": 1, "num_steps": 100, "train_steps": 10}


@pytest.fixture
def report(monkeypatch):
    """A function: the first five updates, one a second, of chains that grow, on a terminal or not; what is printed."""

    def run(is_terminal):
        seconds = iter(range(100))
        monkeypatch.setattr(callbacks.time, "monotonic", lambda: float(next(seconds)))
        file = io.StringIO()
        file.isatty = lambda: is_terminal
        config = TrainConfig(**CHAINS, log_every=5)
        bar = callbacks.ProgressBar(config, file, every_seconds=0)
        count = types.SimpleNamespace(numpy=lambda: 0)
        bar.set_model(types.SimpleNamespace(update_count=count, stage=config.stages[0]))
        bar.on_train_begin()
        for _ in range(5):
            bar.on_train_batch_end(0, {"loss": 2.0})
        bar.close()
        return file.getvalue()

    return run


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_time_left_is_of_langevin_steps(is_terminal, report):
    """By Langevin steps 2.3 % are done after one update, 14.8 % after five: 27 seconds are left at 3.1 % a second.
    Updates that all take as long as those would be done in 5.
    """
    config = TrainConfig(**CHAINS)
    pace = (config.share_done(5) - config.share_done(1)) / 4
    assert (1 - config.share_done(5)) / pace == pytest.approx(27.0, abs=0.5)
    text = report(is_terminal).rstrip("\n").splitlines()[-1].split("\r")[-1]
    assert "00:27 left" in text
    assert ("5/10 [" in text) if is_terminal else text.startswith("update 5/10  loss 2  1 updates/s")
