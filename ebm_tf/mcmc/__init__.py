"""Markov chains as pure functions of (energy_fn, state, seed). Knows neither Keras models nor settings."""
