"""benchmarks/time_to_quality.py and peers.py: minutes of a checkpoint, rows of a report, a script's constants."""

import json

import pytest

from benchmarks import peers, time_to_quality


def test_minutes_of_a_checkpoint_are_the_sum_of_its_rows():
    """50 updates at 0.5 a second, with compiling, then 50 at 10: update 75 is done after 100 + 2.5 seconds."""
    rows = [{"step": 50, "updates_per_second": 0.5}, {"step": 100, "updates_per_second": 10.0}]
    minutes = time_to_quality.minutes_of(rows, [50, 75, 100, 150])
    assert minutes == pytest.approx({50: 100 / 60, 75: 102.5 / 60, 100: 105 / 60})  # 150 has no row yet


def test_rows_of_one_name_and_time_join_and_stand_in_order(tmp_path):
    report, path = {"rows": []}, tmp_path / "report.json"
    for minutes, found in ((25.0, {"long": (8, 3.0)}), (10.0, {"short": (9, 4.0)}), (25.0, {"short": (7, 2.0)})):
        time_to_quality._add(report, time_to_quality._row("peer", minutes, None, found), path)
    first, second = json.loads(path.read_text())["rows"]
    assert first == ["peer, 10 min", "peer", "10.0", "", "9", "4.0", "", ""]
    assert second == ["peer, 25 min", "peer", "25.0", "", "7", "2.0", "8", "3.0"]


def test_a_script_runs_with_its_constants_set(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("FOLDER = 'a'\nMAIN = __name__\ndouble = 2 * FOLDER\n")
    found = peers.execute(str(script), ["FOLDER='b'"])
    assert (found["double"], found["MAIN"]) == ("bb", "__main__")
    with pytest.raises(SystemExit, match=r"--set: expected a name that .* sets once, at its head. Received: OTHER"):
        peers.execute(str(script), ["OTHER=1"])
