"""The HTTP service: the API that OpenAI's and Mistral's clients speak, over one engine thread."""
