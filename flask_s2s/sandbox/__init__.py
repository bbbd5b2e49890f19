"""A stand-in PartnerStack that runs on this machine: real HTTP, a real database, no account needed.

It imports nothing else of this package on purpose: a fake that shares code with the client would
agree with the client's mistakes. What no public source settles about the real network is a switch
here (`switches.py`), never a silent assumption.
"""

from flask_s2s.sandbox.app import create_sandbox
from flask_s2s.sandbox.server import SandboxServer, serve

__all__ = ["SandboxServer", "create_sandbox", "serve"]
