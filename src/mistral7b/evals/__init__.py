"""How good a model is: bits per byte of a text (bits)."""
