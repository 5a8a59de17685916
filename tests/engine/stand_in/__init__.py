"""A provider that stands in for aws, eks, docker and kubernetes, where their plugins cannot be had.

It speaks the provider protocol, keeps what it is given, and refuses what a cloud would refuse: a name that is taken, a
reference to what does not exist, and the deletion of what is in use.
"""
