"""What the network knows: every SQL statement of the stand-in, and no HTTP."""
