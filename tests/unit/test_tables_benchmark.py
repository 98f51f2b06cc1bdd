"""benchmarks/tables.py on made-up tables: the split, and what is made of AUROCs; what benchmarks/scaling.py makes of
timings. What they measure is not tested.
"""

import json
import types

import numpy as np
import pytest
from scipy import special

from benchmarks import scaling, table_densities, tables, tables_data


def test_the_split_is_one_class_and_blind_to_the_test():
    is_out = np.arange(200) % 4 == 0
    x = np.column_stack([np.arange(200.0), np.where(is_out, 7.0, 3.0)])
    x_fit, x_test, y_test = tables_data.split(x, is_out, seed=3)
    assert len(x_fit) == 105 and np.bincount(y_test).tolist() == [45, 50]
    assert np.all(x_fit[:, 1] == 0) and np.all(x_test[y_test == 1, 1] == 4)  # not scaled
    np.testing.assert_allclose([x_fit[:, 0].mean(), x_fit[:, 0].std()], [0, 1], atol=1e-12)
    assert not np.isin(x_test[:, 0], x_fit[:, 0]).any()
    again = tables_data.split(np.where(is_out[:, None], x + 1e3, x), is_out, seed=3)
    np.testing.assert_array_equal(again[0], x_fit)


def test_means_ranks_and_the_critical_difference(tmp_path, monkeypatch, capsys):
    names = ["EnergyDensity", "LOF", "kNN"]
    monkeypatch.setattr(tables.tables_data, "load", lambda name: (np.ones((10, 2)), np.arange(10) < 3))
    lines = ["table,seed,detector,auroc,seconds"]
    for table, values in {"wine": (0.9, 0.8, 0.8), "heart": (0.6, 0.7, 0.5), "pima": (0.7, 0.6, 0.5)}.items():
        for name, value in zip(names, values, strict=True):
            lines += [f"{table},{seed},{name},{value + noise},1" for seed, noise in ((0, 0.05), (1, -0.05))]
    lines += ["letter,0,LOF,0.1,1"]  # a table that is not done
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    tables.report(tmp_path)
    unseen = json.loads((tmp_path / "summary.json").read_text())["unseen"]
    assert unseen["tables"] == 2
    assert unseen["detectors"]["EnergyDensity"] == {"auroc": 0.75, "rank": 1.5}
    assert unseen["detectors"]["LOF"] == {"auroc": 0.75, "rank": 1.75}
    assert unseen["critical_difference"] == pytest.approx(
        2.343 * np.sqrt(3 * 4 / (6 * 2)), abs=2e-3
    )  # Demsar's table 5
    first, second, third = (tmp_path / "scores.csv").read_text().splitlines()[1:]
    assert first == "pima,10,2,3,yes,0.7000,0.6000,0.5000"
    assert second == "heart,10,2,3,no,0.6000,0.7000,0.5000" and third == "wine,10,2,3,no,0.9000,0.8000,0.8000"
    assert (tmp_path / "ranks.png").stat().st_size > 0
    assert "| EnergyDensity | 0.750 | 1.50 |" in capsys.readouterr().out


@pytest.mark.parametrize("name", table_densities.TOYS)
def test_a_toys_density_is_its_own(name):
    """It integrates to 1 where the toy is, and its draws foretell its entropy: to 5.5 standard errors."""
    x, log_prob = table_densities.TOYS[name](np.random.default_rng(0), 4_000)
    side = np.linspace(-4.5, 4.5, 400, endpoint=False) + 4.5 / 400
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    density = log_prob(grid)
    if name == "checkerboard":  # which says its density where it is
        density[(np.abs(grid) > 2).any(axis=1) | (np.floor(grid).sum(axis=1) % 2 == 1)] = -np.inf
    area = (side[1] - side[0]) ** 2
    assert np.exp(density).sum() * area == pytest.approx(1, abs=0.01)
    found, expected = log_prob(x), -special.entr(np.exp(density)).sum() * area
    assert abs(found.mean() - expected) < 5.5 * found.std() / np.sqrt(len(x)) + 0.02


def test_a_speed_up_is_of_data_per_second(tmp_path):
    """Two devices that do 15 updates of twice the batch while one does 20 are 1.5 times as fast."""
    options = types.SimpleNamespace(output=str(tmp_path / "scaling.json"), batch_per_device=4, num_filters=8)
    for name in ("num_steps", "attention", "dtype_policy", "scheme"):
        setattr(options, name, None)
    rows = [
        types.SimpleNamespace(name=name, error=error, rates=rates, ready={"devices": devices, "device": "CPU"})
        for name, error, rates, devices in [
            ("one_device", "", [20.0, 10.0, 30.0], 1),
            ("mirrored", "", [15.0], 2),
            ("multi_worker", "no answer", [], 2),
        ]
    ]
    found = scaling._write_report(options, rows)["rows"]
    assert [found["one_device"]["speed_up"], found["mirrored"]["speed_up"]] == [1.0, 1.5]
    assert found["multi_worker"] == {"error": "no answer"}
    assert json.loads((tmp_path / "scaling.json").read_text())["rows"] == found
