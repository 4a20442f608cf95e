"""The default model: Mistral 7B's architecture at a size any machine runs; its card says what it is."""
