"""Optional neighbours, one file each, each behind an extra of the same name."""
