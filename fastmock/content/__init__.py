"""Content of replies: templates, chunks of text, token counts, embedding vectors, generated JSON."""
