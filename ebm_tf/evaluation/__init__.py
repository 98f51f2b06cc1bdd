"""What a trained energy is worth, in numbers and figures."""
