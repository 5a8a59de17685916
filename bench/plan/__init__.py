"""How long a preview takes, and how it grows with the number of models."""
