"""How XLA is started. Called before TensorFlow is imported, so it knows nothing but the standard library."""

import os

__all__ = ["configure"]

FLAGS = (
    # float32 convolutions in the layout that tensor cores read, as bfloat16 ones are anyway (docs/performance.md).
    "--xla_gpu_force_conv_nhwc=true",
)


def configure() -> None:
    """Puts our choices before the user's XLA_FLAGS, which win."""
    os.environ["XLA_FLAGS"] = " ".join([*FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()
