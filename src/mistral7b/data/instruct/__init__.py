"""Instruction data of any layout: records (lines of files) to dialogues (layouts, mends), to samples, to rows (packing)."""
