"""Releases: a model as a signed manifest, a torrent and a magnet link, and back to a checked folder."""
