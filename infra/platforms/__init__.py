"""What models run on: AWS, or a cluster that is there already. Here alone the two are told apart."""

from infra import config
from infra.platforms import aws, existing
from infra.platforms.platform import Platform

__all__ = ["Platform", "make"]


def make(settings: config.Settings) -> Platform:
    """Make the platform that the settings describe; raises SettingsError as ``aws.make`` does."""
    match settings.cluster:
        case config.EksCluster() as cluster:
            return aws.make(settings, cluster)
        case config.ExistingCluster() as cluster:
            return existing.make(settings, cluster)
