"""Tasks that tell one data set from another."""
