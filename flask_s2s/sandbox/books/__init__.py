"""The network's books: every SQL statement of the stand-in, and no HTTP."""
