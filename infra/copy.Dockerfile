# A model's own image, as it is: built only to be pushed to the stack's registry.
ARG SOURCE
# hadolint ignore=DL3006
FROM ${SOURCE}
