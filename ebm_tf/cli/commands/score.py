"""Scores data by a trained energy: one row per input.

  bin/score.py --model=DIR --input=FOLDER --output=FILE.csv [--report=FILE.html] [--skip_bad] [--resume]

Reads a folder of images, FILE.npy, FILE.npz, FILE.csv, TFRecords or tfds:NAME/SPLIT. Writes id, energy and error, and,
where the model is calibrated, ood_score, p_value, flag ("out" where p_value is at most the false-positive rate, else
"in"), and which statistic was most unusual, on which side. An energy by itself does not say what belongs: see
docs/serving.md.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.scoring import ScoreConfig


def bad_words(bad: int, skip_bad: bool) -> str:
    """How many inputs could not be read, and what that makes of the exit status."""
    words, otherwise = f"{bad} of them could not be read", "so the exit status is 1; with --skip_bad it is 0"
    if not bad:
        return words
    return f"{words}; the exit status is 0, by --skip_bad" if skip_bad else f"{words}, {otherwise}"


def main(settings: ScoreConfig) -> int:
    from ebm_tf.serving import score  # TensorFlow: after the flags have been checked

    done = score.score(settings)
    share = done.energy_seconds / max(done.seconds, 1e-9)
    print(f"wrote {settings.output}: {done.rows} inputs, {bad_words(done.bad, settings.skip_bad)}")
    if done.flagged is not None:
        print(f"{done.flagged} do not belong (flag out)")
    if settings.report:
        print(f"wrote {settings.report}: open it in a browser")
    print(f"{done.seconds:.1f} s, of which the energy took {share:.0%}")
    if done.resized:
        print(f"{done.resized} images were scaled, cut or padded to the model's size, as in training")
    for line in done.warnings:
        print(f"warning: {line}")
    return 1 if done.bad and not settings.skip_bad else 0


start = functools.partial(flags.run_main, main, ScoreConfig)
