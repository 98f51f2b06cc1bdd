"""Have the chains settled, and how many independent samples are they worth?

For N records of C chains of one number f(x), each chain cut into halves:

    R̂ = √((n − 1)/n + B / W),  B = variance of the half chains' means, W = mean variance within them, n records each
    ESS = C N / τ,  τ = 1 + 2 Σ_k ρ_k over the first positive pairs of autocorrelations        (Geyer 1992)
    drift = slope over time of the mean of f

R̂ and ESS are of the rank-normalised records (Vehtari et al. 2021): a heavy tail cannot spoil them. R̂ is the larger of
that of f and that of |f − median|, which sees chains that differ in spread alone; this is "bulk" ESS. Everything is
computed in float64.

These pool all chains, and a few that do not move hide among many that do. So chains are also looked at one by one:

    stuck: a half of the chain has a standard deviation of at most a tenth of the median half chain's
           (of nothing at all, where halves hold fewer than 16 records)

16 independent normal records have so small a spread with probability 3e-13.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special, stats

from ebm_tf.mcmc import checks

__all__ = [
    "NUM_PROJECTIONS",
    "R_HAT_LIMIT",
    "ChainDiagnostics",
    "bulk_ess",
    "diagnose",
    "drift",
    "energy_bias",
    "few_accepted",
    "projections",
    "rank_r_hat",
    "stuck",
    "summary",
    "verdict",
]

MIN_RECORDS = 8  # four per half chain
R_HAT_LIMIT, ESS_WANTED = 1.01, 400  # Vehtari et al. (2021)
DRIFT_LIMIT = 0.1  # over the record, in standard deviations of f
STUCK_SHARE, STUCK_RECORDS = 0.1, 16  # see above
NUM_PROJECTIONS, PROJECTIONS = 4, 21  # how many, and the stream of random numbers that they are drawn by
FEW_ACCEPTED = 0.1  # of the median chain's accepted moves


class ChainDiagnostics(NamedTuple):
    """Numbers of one statistic f(x) of chains.

    Attributes:
      r_hat: R̂, rank-normalised and split. About 1 when every half chain has the same law.
      ess: bulk effective sample size, of all chains together.
      autocorrelation_time: τ in moves: how many moves of one chain are worth one independent sample.
      mean: mean of f over chains and records.
      std: its standard deviation.
      mean_std_error: standard error of the mean, from the chains' own means, which are independent.
      drift: change of f per 1,000 moves, least squares, mean over chains.
      drift_std_error: its standard error, from the chains' own slopes.
      drift_over_std: |drift| over the whole record, in units of std.
      num_stuck: chains that do not move, or hardly.
      num_chains: C.
    """

    r_hat: float
    ess: float
    autocorrelation_time: float
    mean: float
    std: float
    mean_std_error: float
    drift: float
    drift_std_error: float
    drift_over_std: float
    num_stuck: int
    num_chains: int


@contextlib.contextmanager
def _on_the_cpu() -> Iterator[None]:
    """On the CPU, without TFP's warning that the imaginary part of an autocorrelation, which is 0, is left out."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with tf.device("CPU"):
            yield
    finally:
        logger.setLevel(level)


def _split(values):
    """[N, C] -> [N // 2, 2 C]: halves of chains as chains. Of an odd N the last record is left out."""
    half = len(values) // 2
    return np.concatenate([values[:half], values[half : 2 * half]], axis=1)


def _rank_normalised(values):
    ranks = stats.rankdata(values).reshape(values.shape)  # ties get their mean rank
    return special.ndtri((ranks - 0.375) / (values.size + 0.25))


def rank_r_hat(values: np.ndarray) -> float:
    """R̂ over half chains, of rank-normalised records and of their rank-normalised distances from the median.

    Law: tends to 1 for chains of one law. An increasing function of f changes the first of the two only by rounding.
    Limits: records that do not vary at all give 1; records that vary only between chains give inf.

    Args:
      values: [N, C], f at N records of C chains.

    Source: Vehtari et al. (2021), Sec. 4; ArviZ's rhat.
    """
    halves = _split(values)
    return max(_r_hat(_rank_normalised(part)) for part in (halves, abs(halves - np.median(halves))))


def _r_hat(chains):
    if np.ptp(chains) == 0:
        return 1.0
    within = (chains - chains[0]).var(axis=0, ddof=1).mean()  # exactly 0 where no chain moves
    between = chains.mean(axis=0).var(ddof=1)
    return float(np.sqrt(1 - 1 / len(chains) + between / within)) if within else math.inf


def bulk_ess(values: np.ndarray) -> float:
    """Bulk effective sample size of N records of C chains, [N, C].

    Law: tends to C N (1 - a) / (1 + a) for an autoregression with coefficient a. Its own relative error is about
      that of τ: small only when N is many τ.
    Limits: records that do not vary give 1: they say nothing. Never above C N log10(C N), as in Vehtari et al.
    """
    import tensorflow_probability as tfp

    if np.ptp(values) == 0:
        return 1.0
    with _on_the_cpu():
        states = tf.constant(_rank_normalised(_split(values)), tf.float64)
        ess = tfp.mcmc.effective_sample_size(states, filter_beyond_positive_pairs=True, cross_chain_dims=1)
    return float(min(ess.numpy(), values.size * np.log10(values.size)))


def drift(values: np.ndarray, moves_per_record: float) -> tuple[float, float]:
    """(slope per 1,000 moves, its standard error): mean and error of the mean of the chains' least-squares slopes.

    Args:
      values: [N, C], C ≥ 2.
      moves_per_record: moves between records.
    """
    time = np.arange(len(values)) * moves_per_record / 1_000
    time = time - time.mean()
    slopes = time @ (values - values.mean(axis=0)) / (time @ time)
    return float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes)))


def stuck(values: np.ndarray) -> np.ndarray:
    """Whether each chain is stuck, bool [C], by the rule above.

    Limits: chains none of which moves are all stuck.

    Args:
      values: [N, C], f at N records of C chains.
    """
    halves = _split(values)
    spread = (halves - halves[0]).std(axis=0)  # exactly 0 for a chain that stands still
    share = STUCK_SHARE if len(values) // 2 >= STUCK_RECORDS else 0.0
    return (spread <= share * np.median(spread)).reshape(2, -1).any(axis=0)


def few_accepted(num_accepted: np.ndarray) -> np.ndarray:
    """Whether each chain accepted fewer than a tenth of the median chain's moves, or none; bool [C]."""
    return (num_accepted < FEW_ACCEPTED * np.median(num_accepted)) | (num_accepted == 0)


def diagnose(values: np.ndarray, moves_per_record: float) -> ChainDiagnostics:
    """All numbers of one statistic.

    Args:
      values: [N, C], f at N ≥ 8 evenly spaced records of C ≥ 2 chains. Finite.
      moves_per_record: moves between records.

    Raises:
      ValueError: too few records or chains, or values that are not finite.
    """
    try:
        values = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"expected records, numbers [N, C]. Received: values={type(values).__name__}") from None
    checks.at_least("moves_per_record", moves_per_record, 0, is_open=True)
    if values.ndim != 2 or len(values) < MIN_RECORDS or values.shape[1] < 2:
        raise ValueError(f"expected at least {MIN_RECORDS} records of 2 chains, [N, C]. Received: {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("expected finite records. Received: a chain that has diverged")
    slope, slope_error = drift(values, moves_per_record)
    ess, std = bulk_ess(values), float(values.std())
    length = len(values) * moves_per_record / 1_000
    return ChainDiagnostics(
        r_hat=rank_r_hat(values),
        ess=ess,
        autocorrelation_time=values.size * moves_per_record / ess,
        mean=float(values.mean()),
        std=std,
        mean_std_error=float(values.mean(axis=0).std(ddof=1) / np.sqrt(values.shape[1])),
        drift=slope,
        drift_std_error=slope_error,
        drift_over_std=abs(slope) * length / std if std else 0.0,
        num_stuck=int(stuck(values).sum()),
        num_chains=values.shape[1],
    )


def verdict(diagnostics: dict[str, ChainDiagnostics], num_accepted: np.ndarray | None = None) -> str:
    """One line in words: have the chains settled, and by which numbers.

    Args:
      diagnostics: name of the statistic -> its numbers.
      num_accepted: [C], moves that each chain accepted. None: not adjusted, every move is made.
    """
    worst_r_hat = max(diagnostics, key=lambda name: diagnostics[name].r_hat)
    least_ess = min(diagnostics, key=lambda name: diagnostics[name].ess)
    most_drift = max(diagnostics, key=lambda name: (_is_trend(diagnostics[name]), diagnostics[name].drift_over_std))
    r_hat, ess = diagnostics[worst_r_hat].r_hat, diagnostics[least_ess].ess
    moved, drifts = diagnostics[most_drift], _is_trend(diagnostics[most_drift])
    parts = [
        f"R-hat {r_hat:.3f} of {worst_r_hat} ({'at most' if r_hat <= R_HAT_LIMIT else 'above'} {R_HAT_LIMIT})",
        f"bulk ESS {ess:.0f} of {least_ess} ({'at least' if ess >= ESS_WANTED else 'below'} {ESS_WANTED})",
        f"drift {moved.drift_over_std:.2f} standard deviations of {most_drift} over the record"
        f" ({'a trend' if drifts else 'no trend'})",
    ]
    most_stuck = max(diagnostics, key=lambda name: diagnostics[name].num_stuck)
    num_stuck, num_chains = diagnostics[most_stuck].num_stuck, diagnostics[most_stuck].num_chains
    if num_stuck:
        parts.append(f"{num_stuck} of {num_chains} chains are stuck, by their own spread of {most_stuck}")
    lazy = 0 if num_accepted is None else int(few_accepted(num_accepted).sum())
    if lazy:
        parts.append(f"{lazy} of {num_chains} chains accepted less than a tenth of the median chain's moves")
    settled = r_hat <= R_HAT_LIMIT and ess >= ESS_WANTED and not drifts and not num_stuck and not lazy
    return ("settled: " if settled else "not settled: ") + "; ".join(parts)


def _is_trend(found: ChainDiagnostics) -> bool:
    """Whether a drift is both large and no accident (four standard errors)."""
    return found.drift_over_std > DRIFT_LIMIT and abs(found.drift) > 4 * found.drift_std_error


def projections(event_shape: tuple[int, ...]) -> tf.Tensor:
    """Fixed random unit directions, float32 [prod(event), P]: the same for every run of these shapes."""
    shape = [math.prod(event_shape), NUM_PROJECTIONS]
    directions = tf.random.stateless_normal(shape, tf.constant([PROJECTIONS, PROJECTIONS], tf.int32), alg="philox")
    return directions / tf.norm(directions, axis=0)


def summary(
    energy: np.ndarray, projected: np.ndarray, moves_per_record: float, num_accepted: np.ndarray | None = None
) -> tuple[dict[str, Any], str]:
    """Diagnostics of recorded chains, as JSON values, and the verdict in words.

    Args:
      energy: [N, C].
      projected: [N, C, P].
      moves_per_record: moves between records.
      num_accepted: [C], of adjusted chains; see verdict.
    """
    if len(energy) < MIN_RECORDS:
        return {}, f"no verdict: {len(energy)} records, {MIN_RECORDS} or more are needed"
    if not (np.isfinite(energy).all() and np.isfinite(projected).all()):
        return {}, "diverged: energies or states are not finite"
    values = {"energy": energy} | {f"projection_{i}": projected[..., i] for i in range(projected.shape[-1])}
    found = {name: diagnose(value, moves_per_record) for name, value in values.items()}
    return {name: number._asdict() for name, number in found.items()}, verdict(found, num_accepted)


def energy_bias(ula: dict[str, float], mala: dict[str, float], temperature: float) -> dict[str, Any]:
    """Mean energies without and with the Metropolis adjustment, their difference and its standard error, over T.

    Args:
      ula: numbers of the energy of unadjusted chains, as ChainDiagnostics.
      mala: the same of adjusted chains.
      temperature: T. With T = 0 there is no unit, and no bias.
    """
    difference = ula["mean"] - mala["mean"]
    error = float(np.hypot(ula["mean_std_error"], mala["mean_std_error"]))
    return {
        "ula_energy_mean": ula["mean"],
        "mala_energy_mean": mala["mean"],
        "difference": difference,
        "std_error": error,
        "difference_over_temperature": difference / temperature if temperature else None,
    }
