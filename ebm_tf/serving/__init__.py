"""A trained energy outside the lab: export, scoring of data, thresholds, and the Python API."""
