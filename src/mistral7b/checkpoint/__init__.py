"""Folders in, weights out.

folder (what stands in a folder) · hf, consolidated, pth, quantized, gguf (one format each, all as a TensorSource: source) ·
layouts (row orders of wq and wk) · shards (safetensors files) · pairing (what must agree) · load (to one dtype and device) ·
residency, memory, fit (what stays in memory, what is free, what will fit).
"""
