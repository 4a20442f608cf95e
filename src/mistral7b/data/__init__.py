"""Documents in, token shards out, rows of a training batch from those; numpy, no torch.

curate (raw text to documents) · documents (what that leaves, read) · train_tokenizer · encode (documents to shards) ·
shards (ids on disk, by memory map) · pack (rows of a fixed length from a mixture of sources) · permutation (the order of the
rows).
"""
