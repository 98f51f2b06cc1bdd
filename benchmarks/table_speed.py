"""How long ebm_tf.EnergyDensity takes on a large table, by the clock on the wall and of the processor, and its memory.

  python benchmarks/table_speed.py [--fit=50000] [--score=1000000] [--columns=20] [--rounds=3] [--output=FILE.json]

Rows are correlated Gaussians. A round fits the first rows and scores the others, all at once; the medians over the
rounds are printed, and the process's memory before the first round and at its peak after the last.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    options = _options()
    import numpy as np

    import ebm_tf

    rng = np.random.default_rng(0)
    mix = rng.normal(size=(options.columns, options.columns))
    rows = rng.normal(size=(options.fit + options.score, options.columns)) @ mix
    fit, new = rows[: options.fit], rows[options.fit :]
    ebm_tf.EnergyDensity(random_state=0).fit(fit[:100]).score_samples(new[:100])  # TensorFlow starts
    before = _peak()
    rounds = [_round(ebm_tf.EnergyDensity(random_state=0), fit, new) for _ in range(options.rounds)]
    found = {key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}
    found |= {"rows_fitted": len(fit), "rows_scored": len(new), "columns": options.columns, "rounds": options.rounds}
    found |= {"cores": os.cpu_count(), "load": os.getloadavg(), "table_mib": rows.nbytes >> 20}
    found |= {"peak_mib_before": before, "peak_mib_after": _peak()}
    print(json.dumps(found, indent=1))
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(found, indent=1) + "\n")


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=int, default=50_000, help="rows that are fitted")
    parser.add_argument("--score", type=int, default=1_000_000, help="rows that are scored")
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", help="a .json file")
    return parser.parse_args()


def _round(model, fit, new) -> dict[str, float]:
    found = {}
    for name, action in (("fit", lambda: model.fit(fit)), ("score", lambda: model.score_samples(new))):
        start = time.perf_counter(), time.process_time()
        action()
        found |= {f"{name}_wall_s": time.perf_counter() - start[0], f"{name}_cpu_s": time.process_time() - start[1]}
    return found


def _peak() -> int:
    """MiB that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main()
