"""Example models, trained on this machine in less than a minute, and pictures to try them with."""
