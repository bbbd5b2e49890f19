"""From a call or a fact to rows, in the right transaction."""
