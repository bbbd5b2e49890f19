"""What the network answers: one blueprint per audience, and no SQL."""
