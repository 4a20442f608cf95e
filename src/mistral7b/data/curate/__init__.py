"""From raw text to a folder of documents: read, cleaned, rid of duplicates and of what a model will be asked, mixed."""
