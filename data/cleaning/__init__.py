"""Raw text of any form to clean text: HTML, wikitext, damage of two sources, Unicode and white
space."""
