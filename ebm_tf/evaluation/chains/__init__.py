"""Tasks on the density of a model and on the chains that sample it."""
