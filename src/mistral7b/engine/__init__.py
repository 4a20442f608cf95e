"""Requests of token ids in, token ids out: scheduling, cache pages and sampling. No text."""
