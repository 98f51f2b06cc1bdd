"""The energy as an ONNX graph, by tf2onnx. An extra: pip install '.[onnx]' in a clone."""

import pathlib

from ebm_tf.errors import ConfigError
from ebm_tf.serving.endpoints import Endpoint

__all__ = ["OPSET", "check_installed", "write"]

OPSET = 18  # which onnxruntime reads since 1.14 (2023)


def check_installed() -> None:
    """Raises ConfigError without the extra."""
    try:
        import tf2onnx  # noqa: F401
    except ImportError:
        expected = "the packages of the extra onnx: pip install '.[onnx]' in a clone"
        raise ConfigError(f"--onnx: expected {expected}. Received: no package tf2onnx") from None


def write(energy: Endpoint, path: pathlib.Path) -> None:
    """Writes the graph: input x float32 [N, *event], output energy float32 [N]."""
    import tf2onnx

    tf2onnx.convert.from_function(
        energy.compile(), input_signature=energy.signature, opset=OPSET, output_path=str(path)
    )
