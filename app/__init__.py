"""The services that run beside a model: gateway, model-sync, the serving image, and all of them on one machine."""
