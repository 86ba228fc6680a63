"""From the table of documents to segment files: what is repetition, what is held out of training,
the tokens, the files."""
