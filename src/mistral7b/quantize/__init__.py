"""A model in fewer bits, layer by layer, so that it never stands in memory whole.

recipe (which format each matrix gets) · run (one checkpoint in, a quantised folder out).
"""
