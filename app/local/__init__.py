"""The platform as processes on one machine: the same parts as in the cluster, without a cluster."""
