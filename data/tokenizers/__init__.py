"""Text to token ids and back: GPT-2's encoding, bytes, characters, a file's, one that is learnt."""
