"""Answers for people, as values: the command line prints them, the dashboard shows them."""
