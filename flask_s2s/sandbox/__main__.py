"""`python -m flask_s2s.sandbox`: the same command as `flask s2s sandbox`."""

from flask_s2s.sandbox.command import sandbox

sandbox(prog_name="python -m flask_s2s.sandbox")
