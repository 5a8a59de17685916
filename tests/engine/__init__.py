"""The whole program, run by the real Pulumi engine against a small stand-in for the clouds."""
