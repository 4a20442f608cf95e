"""The network: token batch in, logits out, with the window and the rolling cache of key and value pages."""
