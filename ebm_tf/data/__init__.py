"""The rings of App. A.1, and images."""

from ebm_tf.data import rings

__all__ = ["rings"]
