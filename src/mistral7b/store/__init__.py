"""From a model's name (a folder, a file, "tiny", a hub id) to a local folder."""
