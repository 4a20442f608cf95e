"""Matrices in few bits, and one layout of them for all instruction sets.

formats (what each format holds) · layout (codes to bytes and back) · matrix (PackedMatrix, as the kernels take it) ·
nearest (round to nearest, scales searched) · ggml (what a GGUF holds, repacked) · linear (QuantLinear, which takes a Linear's
place in a finished network).
"""
