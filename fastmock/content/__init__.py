"""What gets said: templates, pieces of text, token counts, vectors, ids."""
