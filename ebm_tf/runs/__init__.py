"""The files of a run. Loads no TensorFlow."""
