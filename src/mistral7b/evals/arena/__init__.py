"""Two models, one question, a person who votes without knowing which is which (battles, app, votes, scores)."""
