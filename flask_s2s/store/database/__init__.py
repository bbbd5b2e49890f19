"""The database itself: its address, its engine, its file, its clock, and who listens to it."""
