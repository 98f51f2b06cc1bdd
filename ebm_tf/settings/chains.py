"""Settings of the chains: where they start, how long their steps are, and which are kept between updates."""

import dataclasses
import enum
import math

from ebm_tf.settings.fields import COUNT, NATURAL, NOT_NEGATIVE, POSITIVE, PROBABILITY, Role, Settings, setting

__all__ = ["GAUSSIANS", "BankConfig", "ChainConfig", "Scheme"]

GAUSSIANS = ("none", "steps", "start", "start+steps", "start+reference", "start+steps+reference")


class Scheme(str, enum.Enum):
    """Where the chains of training start (Sec. 3)."""

    DATA = "data"  # chain n starts at x^(n) of this batch: contrastive divergence
    NOISE = "noise"  # N(0, I): short-run MCMC
    PERSISTENT = "persistent"  # a batch of the bank, written back
    PERSISTENT_REFRESH = "persistent_refresh"  # the same, with 5 % restarted from noise
    HYBRID = "hybrid"  # noise and data together, Eq. 6

    def __str__(self) -> str:
        return self.value

    @property
    def has_bank(self) -> bool:
        return self in (Scheme.PERSISTENT, Scheme.PERSISTENT_REFRESH)


@dataclasses.dataclass(frozen=True)
class ChainConfig(Settings):
    """Starts, length, steps and temperature of the chains."""

    scheme: Scheme = setting(
        Scheme.HYBRID,
        "Where chains start: at data, at noise, where earlier ones ended (persistent), there but for some that restart "
        "from noise (persistent_refresh), or at data and noise both (hybrid).",
        "Sec. 3",
        choices=tuple(s.value for s in Scheme),
        role=Role.MODEL,
    )
    cd_weight: float | None = setting(
        None,
        "lambda: weight of the chains from data; hybrid only. None: 25.",
        "Eq. 6, Sec. 3",
        role=Role.RESULT,
        range=NOT_NEGATIVE,
        per_stage=True,
    )
    num_steps: int = setting(
        500, "L: Langevin steps of each chain in an update.", "Sec. 3", role=Role.RESULT, range=COUNT, per_stage=True
    )
    num_steps_start: int | None = setting(
        None,
        "L of the first update; from there 1/L falls in equal parts to 1/num_steps at the last, so that every doubling "
        "of L takes as many steps in all. None: num_steps throughout, as in the paper.",
        role=Role.RESULT,
        per_stage=True,
    )
    step_size: float = setting(
        1.0,
        "epsilon: size of the Langevin steps; under the adaptive rule the largest.",
        "Eq. 9",
        unit="x^2/energy",
        role=Role.RESULT,
        range=POSITIVE,
    )
    temperature: float = setting(
        5e-5,
        "T of the density exp(-E/T). 0 is gradient descent.",
        "Eq. 9, Sec. 3",
        unit="energy",
        role=Role.RESULT,
        range=NOT_NEGATIVE,
    )
    step_size_rule: str = setting(
        "constant",
        "constant, or adaptive: min(step_size, 0.0005 / standard deviation of E over the data batch).",
        "Sec. 3",
        choices=("constant", "adaptive"),
        role=Role.RESULT,
    )
    gaussian: str = setting(
        "none",
        "What the Gaussian of the data is for. none, as in the paper: chains from noise start at N(0, I), steps are as "
        "long in all directions, and the energy is the network's. start: chains from noise start at it; steps: they "
        "are longer where it is wider; reference: the network learns how the data differ from it. It is fitted to the "
        "training data: of images mean and variance at every frequency (of the cosine transform), of vectors mean and "
        "covariance. The rings' widths are known, and for steps alone: 36 times as long in x, y, z.",
        choices=GAUSSIANS,
        role=Role.MODEL,
    )

    def _check(self) -> None:
        if self.num_steps_start is not None:
            expected = f"a whole number from 1 to num_steps = {self.num_steps}"
            self._require("num_steps_start", 1 <= self.num_steps_start <= self.num_steps, expected)

    @property
    def mean_num_steps(self) -> float:
        """L averaged over all updates of a stage."""
        first, last = self.num_steps_start or self.num_steps, self.num_steps
        return math.log(last / first) / (1 / first - 1 / last) if first < last else last

    @property
    def hybrid_cd_weight(self) -> float:
        """lambda of Eq. 6: 25 (Sec. 3) unless cd_weight says otherwise."""
        return 25.0 if self.cd_weight is None else self.cd_weight


@dataclasses.dataclass(frozen=True)
class BankConfig(Settings):
    """The chains that are kept between updates."""

    bank_size: int = setting(
        60_000,
        "Chains kept between updates, by the persistent schemes and with bank_weight.",
        "Sec. 3",
        role=Role.MODEL,
        range=COUNT,
        per_stage=True,
    )
    bank_weight: float = setting(
        0.0,
        "mu: weight of one more group of chains, which a bank keeps from update to update, beside those of the schemes "
        "data, noise and hybrid (docs/training.md). 0: none, as in the paper.",
        role=Role.RESULT,
        range=NOT_NEGATIVE,
        per_stage=True,
    )
    bank_start: str = setting(
        "noise",
        "Where the chains of the bank start: noise, as in the paper; or data, training examples with data_noise.",
        "Sec. 3",
        choices=("noise", "data"),
        role=Role.RESULT,
        per_stage=True,
    )
    bank_burn_in: int = setting(
        0,
        "Langevin steps that a chain of the bank runs before it counts (with bank_weight).",
        role=Role.RESULT,
        range=NATURAL,
        per_stage=True,
    )
    bank_restart_data: float = setting(
        0.0,
        "Probability that a chain drawn from the bank starts anew at this batch's data (with bank_weight).",
        role=Role.RESULT,
        range=PROBABILITY,
        per_stage=True,
    )
    bank_restart_noise: float = setting(
        0.0,
        "Probability that a chain drawn from the bank starts anew at noise (with bank_weight).",
        role=Role.RESULT,
        range=PROBABILITY,
        per_stage=True,
    )
    refresh_prob: float = setting(
        0.05,
        "Share restarted from noise, persistent_refresh only.",
        "Sec. 3",
        role=Role.RESULT,
        range=PROBABILITY,
    )
    refresh_unit: str = setting(
        "batch",
        "What refresh_prob counts: whole batches (Methods) or single chains (Results).",
        "Sec. 3, Sec. 4.1",
        choices=("batch", "chain"),
        role=Role.RESULT,
    )
    bank_jump: bool = setting(
        False,
        "A chain that is drawn from the bank first tries a jump to a training example with data_noise on it, which "
        "Metropolis' rule accepts or refuses, so that clusters far apart get their masses. Needs a bank, data_noise "
        "and temperature above 0; in many dimensions jumps are hardly ever accepted.",
        role=Role.RESULT,
        per_stage=True,
    )
    bank_dtype: str = setting(
        "float32",
        "Type in which the bank is kept, in training and in checkpoints.",
        choices=("float32", "float16"),
        role=Role.MODEL,
    )

    def _check(self) -> None:
        rest, noise = 1 - self.bank_restart_data, self.bank_restart_noise
        self._require("bank_restart_noise", noise <= rest, f"at most 1 - bank_restart_data = {rest:g}")
