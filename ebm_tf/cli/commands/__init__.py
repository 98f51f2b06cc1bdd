"""A module per command: its help, its settings, what it does and what it prints."""
