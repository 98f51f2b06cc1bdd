"""Settings of the energy."""

import dataclasses

from ebm_tf.settings.fields import COUNT, NOT_NEGATIVE, POSITIVE, Role, Settings, setting

__all__ = ["EnergyConfig"]


@dataclasses.dataclass(frozen=True)
class EnergyConfig(Settings):
    """The network, what is added to it, and its first weights."""

    num_filters: int = setting(
        128, "n_f: width of the network, of its first layer.", "Sec. 3", role=Role.MODEL, range=COUNT
    )
    attention: bool = setting(
        True, "Self-attention where the network's maps are 16x16 and 8x8 (images only).", "Sec. 3", role=Role.MODEL
    )
    energy_scale: float = setting(
        1.0,
        "The energy is energy_scale times the network's output. At energy_scale = T the network gives E/T.",
        "A.4",
        role=Role.MODEL,
        range=POSITIVE,
    )
    confinement: float = setting(
        0.0,
        "c: the energy has c times the sum of max(|x| - b, 0)^2 added, a soft wall at b = 1 + 3 data_noise, beyond the "
        "pixels' range (images only). 0: none, as in the paper.",
        unit="energy/x^2",
        role=Role.MODEL,
        range=NOT_NEGATIVE,
    )
    reference: str = setting(
        "none",
        "What the network's output is added to: none, as in the paper; or gaussian, the energy of the Gaussian of "
        "--noise_spectrum=data, which it needs: the network then learns how the data differ from it.",
        choices=("none", "gaussian"),
        role=Role.MODEL,
    )
    dtype_policy: str = setting(
        "float32",
        "Type in which the network computes, a dtype policy of Keras. Chains and energies stay float32. mixed_float16 "
        "is for images alone.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        role=Role.MODEL,
    )
    init_model: str | None = setting(
        None,
        "A .keras file of an energy with the same network and energy_scale, e.g. RUN/model.keras, whose weights the "
        "run starts from; with reference=gaussian also the same temperature and data_noise, and its Gaussian is kept. "
        "Optimizer, data order and chains start anew. None: new weights.",
        role=Role.MODEL,
    )

    def _check(self) -> None:
        if self.reference != "none":
            self._require("confinement", self.confinement == 0, "0 with a reference, which confines already")
