"""Where text comes from: the built-in packages, the user's files, MediaWiki dumps, the Hugging Face
hub."""
