"""Releases: a model folder into a signed manifest, a torrent and a magnet link, and back into a checked folder."""
