"""Refuse to go on when `import flask_s2s` would find the checkout instead of the installed wheel."""

from __future__ import annotations

import pathlib
import sys
import sysconfig

# The working directory gets its chance to shadow the wheel, as it does under pytest.
sys.path.insert(0, str(pathlib.Path.cwd()))

import flask_s2s

found = pathlib.Path(flask_s2s.__file__ or "").resolve()
wanted = pathlib.Path(sysconfig.get_paths()["purelib"]).resolve()
if wanted not in found.parents:
    sys.exit(f"flask_s2s came from {found}, not from {wanted}")
print(f"testing {found.parent}")
