"""How long model-sync takes for a model of 1 GB, beside the tools one would copy it with."""
