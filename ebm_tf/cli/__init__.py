"""The command line: flags, and what runs before TensorFlow is loaded."""
