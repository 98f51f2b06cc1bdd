"""What every room may raise, one line for the user: ConfigError, and UnusableError where work had no result."""

import re

__all__ = ["ConfigError", "UnusableError", "is_gpu_taken", "one_line"]

GPU_TAKEN = ("DNN library initialization failed", "cudaSetDevice() on GPU", "CUDA_ERROR_OUT_OF_MEMORY")


class ConfigError(ValueError):
    """A setting that cannot be used. One line: expected, received, flag, section."""


class UnusableError(RuntimeError):
    """The work was done, and nothing usable came out. One line; what was written stays."""


def is_gpu_taken(error: BaseException) -> bool:
    """Whether CUDA or cuDNN could not start on a GPU, as where another program holds its memory."""
    return any(text in str(error) for text in GPU_TAKEN)


def one_line(value: object) -> str:
    """At most 400 letters of what an error or another value says, without TensorFlow's names of graph nodes."""
    text = re.sub(r"\[\[\{\{.*|\{\{.*?\}\}|\[Op:\w+\].*", "", str(value))
    return " ".join(text.split())[:400] or type(value).__name__
