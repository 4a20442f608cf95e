"""Text and chats to token ids and back: tokenizer, chat templates, incremental detokenizer. No torch."""
