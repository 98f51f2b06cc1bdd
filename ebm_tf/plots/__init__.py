"""Arrays in, pictures out. Loads no TensorFlow."""
