"""The network's answers: one blueprint per audience, and no SQL."""
