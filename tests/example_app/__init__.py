"""Tests of the demo site: in process, as a command, in a browser, and through crashes."""
