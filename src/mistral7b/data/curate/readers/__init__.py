"""Sources of every kind as texts, one file a format."""
