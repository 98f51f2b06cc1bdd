"""Where inputs to score come from."""
