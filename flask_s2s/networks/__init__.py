"""Partner networks: the seam that each implements, and HTTP to them."""
