"""How fast this machine runs the model, beside what the machine itself can do."""
