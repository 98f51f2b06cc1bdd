"""Tasks that compare images by features, and the features."""
