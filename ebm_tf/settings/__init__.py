"""Every setting once: default, unit, section of the paper, and the check that a value must pass."""
