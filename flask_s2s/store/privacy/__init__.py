"""Personal data: found, shown, erased, and the keys that hash it."""
