"""Long contexts: needles in a haystack, facts in a text, and tracking of a state."""
