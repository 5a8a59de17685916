"""The HTTP service in front of the models: takes a picture, asks TF Serving, answers labels with scores."""
