"""One page that shows a scored set of inputs."""
