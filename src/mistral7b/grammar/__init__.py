"""What a text may be: schemas, grammars and tool calls as masks over token ids. No engine, no torch."""
