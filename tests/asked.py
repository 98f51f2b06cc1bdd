"""Settings that tests share between runs, or tasks, not all of which have a use for them: the rest is refused."""

from ebm_tf.settings.train import TrainConfig, without_use


def config_of(shared, **own):
    """The TrainConfig of a run's own settings, and of the shared ones that it has a use for."""
    unused = without_use({**TrainConfig().to_dict(), **shared, **own})
    return TrainConfig(**{**{name: value for name, value in shared.items() if name not in unused}, **own})


def read_by(names, settings):
    """Those of the settings of bin/evaluate.py that one of the tasks, named with commas, reads."""
    from ebm_tf.evaluation.tasks import TASKS

    read = {name for task in names.split(",") for name in (*TASKS[task].settings, *TASKS[task].also)}
    return {name: value for name, value in settings.items() if name in read}
