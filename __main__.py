"""The Pulumi program: load the settings, build, export."""

from infra import config, program

program.build(config.load()).export()
