"""The parts of a process that start and stop: workers and the stall alarm."""
