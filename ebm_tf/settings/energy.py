"""Settings of the energy."""

import dataclasses

from ebm_tf.settings.fields import COUNT, POSITIVE, Role, Settings, setting

__all__ = ["EnergyConfig"]


@dataclasses.dataclass(frozen=True)
class EnergyConfig(Settings):
    """The network and its first weights."""

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
        "run starts from; with a reference in --gaussian also the same temperature and data_noise, and its Gaussian "
        "is kept. Optimizer, data order and chains start anew. None: new weights.",
        role=Role.MODEL,
    )
