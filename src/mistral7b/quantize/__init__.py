"""A model in fewer bits, layer by layer, so that it never stands in memory whole.

recipe (which format each matrix gets) · run (one checkpoint in, a quantised folder out) · texts (JSONL to sequences of ids) ·
calibrate (the walk through the layers) · gptq (one matrix, its errors compensated) · cholesky (in place) · report (what it cost)
· assess (both models loaded and measured).
"""
