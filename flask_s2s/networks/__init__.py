"""What partner networks are, and how one is spoken to."""
