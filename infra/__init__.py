"""The program that makes the platform: one module for each stage, wired together in ``program``."""
