"""Real browsers, two real sites on loopback: who is credited, and what nobody else gets to know."""
