"""The paper's figures and tables from saved arrays."""
