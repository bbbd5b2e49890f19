"""The parts of a process that start and stop: workers, stall alarm and maintenance."""
