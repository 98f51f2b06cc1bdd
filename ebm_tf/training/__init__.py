"""Training by Algorithm 1."""
