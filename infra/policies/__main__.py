"""Serves the rules to Pulumi's engine: ``pulumi preview --policy-pack infra/policies``."""

import sys
from pathlib import Path

from pulumi_policy import PolicyPack

# The engine starts this folder as a program of its own.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.policies.pack import as_policy
from infra.policies.rules import RULES

# Serves until the engine ends it.
PolicyPack(name="model-serving", policies=[as_policy(rule) for rule in RULES])
