"""Settings for data that no flag file of ours is of, from the data's size alone."""

from typing import Any

from ebm_tf.errors import ConfigError

__all__ = ["DEPTHS", "PRESETS", "PRESET_SETTINGS", "possible", "settings_for"]

# Noise over the kernel width, and what differs: docs/own_data.md has what they were measured at.
PRESETS: dict[str, tuple[float, dict[str, Any]]] = {
    "density": (0.75, {"scheme": "data", "bank_jump": True, "learning_rate": 3e-3, "train_steps": 3_000}),
    "detector": (0.7, {"scheme": "hybrid", "learning_rate": 1e-3, "train_steps": 500}),
}
DEPTHS = {"density": 3, "detector": 2}  # of the default network; two layers leave rings in one
STEP_OVER_NOISE = 0.3  # epsilon over noise^2

# configs/cifar_hybrid_preconditioned.flags: for a GPU.
IMAGES = {
    "data_noise": 0.05,
    "step_size": 2.5,
    "temperature": 5e-5,
    "num_steps": 50,
    "scheme": "hybrid",
    "cd_weight": 25.0,
    "num_filters": 64,
    "learning_rate": 5e-4,
    "learning_rate_schedule": "cosine",
    "train_steps": 12_000,
}
# A CPU does a thousandth of that: a small network, and noise that leaves the chains a short way.
IMAGES_ON_CPU = {
    "temperature": 0.01,
    "num_steps": 20,
    "scheme": "data",
    "bank_weight": 1.0,
    "bank_size": 1_000,
    "bank_restart_noise": 0.05,
    "num_filters": 8,
    "attention": False,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "cosine",
    "ema_momentum": 0.99,
    "train_steps": 1_000,
}
IMAGE_NOISE, IMAGE_STEP = 0.75, 0.05  # noise over kernel width, and epsilon T over noise^2
IMAGE_BATCH, PIXELS = 32, 32 * 32  # of so many pixels; fewer images of more, but 8

# All that settings_for gives values of.
PRESET_SETTINGS = (
    *("gaussian", "data_noise", "step_size", "temperature", "num_steps", "scheme", "cd_weight"),
    *("batch_size", "bank_weight", "bank_size", "bank_restart_noise", "bank_jump", "num_filters"),
    *("attention", "learning_rate", "learning_rate_schedule", "ema_momentum", "train_steps"),
)


def settings_for(
    event_shape: tuple[int, ...], num_examples: int, width: float, preset: str = "density", has_gpu: bool = False
) -> dict[str, Any]:
    """Settings of TrainConfig.

    Of vectors E = T (Gaussian of the data + network), T = 1, and standardised columns. The noise on the data is a share
    of how far apart the examples let one see, and epsilon a share of the noise's square, so that a step stays within
    what the noise has smoothed. PRESETS has the shares. A density has to weigh far modes against each other, by a bank
    whose chains jump; chains that L steps do not bring from noise to the data would spoil that.

    Of images it is IMAGES on a GPU; on a CPU noise and epsilon follow the kernel width too, in pixels' units.

    Args:
      event_shape: shape of one x, [D] or [H, W, C].
      num_examples: N.
      width: stats.kernel_width, of standardised vectors or of pixels that vary.
      preset: density or detector.
      has_gpu: whether there is one to train images on.

    Raises:
      ConfigError: another preset, or images, of which there is one.
    """
    if preset not in PRESETS:
        raise ConfigError(f"--preset: expected one of {', '.join(PRESETS)}. Received: preset={preset}")
    if len(event_shape) == 3:
        if preset != "density":
            raise ConfigError(f"--preset: expected density for images, which have one. Received: preset={preset}")
        return {"gaussian": "start+steps+reference", **_of_images(event_shape, num_examples, width, has_gpu)}
    share, own = PRESETS[preset]
    noise = share * width
    return {
        "gaussian": "start+reference",  # steps alike: the noise, which bounds them, is the same in all directions
        "data_noise": noise,
        "step_size": STEP_OVER_NOISE * noise**2,
        "temperature": 1.0,
        "num_steps": 20,
        "cd_weight": 5.0,  # of the hybrid
        "batch_size": min(128, num_examples),
        "bank_weight": 1.0,
        "bank_size": 2_000,
        "bank_restart_noise": 0.05,
        "num_filters": 128,
        "learning_rate_schedule": "cosine",
        "ema_momentum": 0.99,
        **own,
    }


def possible() -> list[dict[str, Any]]:
    """A choice of each kind that settings_for makes, before the data have been seen."""
    vectors = [settings_for((1,), 1, 1.0, preset) for preset in PRESETS]
    return vectors + [settings_for((32, 32, 1), 1, 1.0, has_gpu=has_gpu) for has_gpu in (False, True)]


def _of_images(event_shape, num_examples, width, has_gpu):
    if has_gpu:
        return {**IMAGES, "batch_size": min(100, num_examples)}
    noise, pixels = IMAGE_NOISE * width, event_shape[0] * event_shape[1]
    batch_size = min(IMAGE_BATCH, max(8, IMAGE_BATCH * PIXELS // pixels), num_examples)
    step_size = IMAGE_STEP * noise**2 / IMAGES_ON_CPU["temperature"]
    return {**IMAGES_ON_CPU, "data_noise": noise, "step_size": step_size, "batch_size": batch_size}
