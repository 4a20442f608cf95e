"""What `tiny-instruct` learns, a file a kind. Every list of words and phrases has a part for training and a part held out."""
