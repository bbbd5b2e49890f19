"""Settings: a mapping becomes immutable values, once."""
