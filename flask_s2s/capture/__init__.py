"""From a landing URL to the click that a conversion belongs to."""
