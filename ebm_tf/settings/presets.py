"""Settings for data that no flag file of ours is of, from the data's size alone."""

from typing import Any

from ebm_tf.errors import ConfigError

__all__ = ["PRESETS", "settings_for"]

# Noise over Scott's width, epsilon over noise^2, eta, updates: docs/own_data.md has what they were measured at.
PRESETS = {"density": (1 / 3, 0.6, 3e-3, 4_000), "detector": (0.7, 0.3, 1e-3, 500)}

# configs/cifar_hybrid_preconditioned.flags, which has not been tried on other images.
IMAGES = {
    "data_noise": 0.05,
    "step_size": 2.5,
    "temperature": 5e-5,
    "num_steps": 50,
    "scheme": "hybrid",
    "cd_weight": 25.0,
}


def settings_for(num_examples: int, event_shape: tuple[int, ...], preset: str = "density") -> dict[str, Any]:
    """Settings of TrainConfig.

    Of vectors E = T (Gaussian of the data + network), T = 1, and Langevin steps go in whitened coordinates. There all
    data have size 1, and Scott's width w = N^(-1/(D + 4)) is how far apart N examples let one see. The noise on the data
    is a share of w, and epsilon a share of the noise's square, so that a step stays within what the noise has smoothed:

        density    data_noise = w / 3, epsilon = 0.6 data_noise^2: sharp; 4,000 updates with eta = 3e-3
        detector   data_noise = 0.7 w, epsilon = 0.3 data_noise^2: smooth, for what does not belong; 500 with eta = 1e-3

    Both: lambda = 5, a bank of 2,000 chains with weight 1 of which 5 % start anew, L = 20, batches of 128, a perceptron
    of 128-128, eta by half a cosine to 0, and the weights' average with momentum 0.99. Of images it is IMAGES.

    Args:
      num_examples: N.
      event_shape: shape of one x, [D] or [H, W, C].
      preset: density or detector.

    Raises:
      ConfigError: another preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"--preset: expected one of {', '.join(PRESETS)}. Received: preset={preset}")
    kept = {"noise_spectrum": "data", "preconditioner": "spectrum", "reference": "gaussian"}
    if len(event_shape) == 3:
        return {**IMAGES, **kept, "batch_size": min(100, num_examples)}
    share, step_over_noise, rate, train_steps = PRESETS[preset]
    noise = share * num_examples ** (-1 / (event_shape[0] + 4))
    return {
        **kept,
        "data_noise": noise,
        "step_size": step_over_noise * noise**2,
        "temperature": 1.0,
        "num_steps": 20,
        "scheme": "hybrid",
        "cd_weight": 5.0,
        "batch_size": min(128, num_examples),
        "bank_weight": 1.0,
        "bank_size": 2_000,
        "bank_restart_noise": 0.05,
        "num_filters": 128,
        "learning_rate": rate,
        "learning_rate_schedule": "cosine",
        "ema_momentum": 0.99,
        "train_steps": train_steps,
    }
