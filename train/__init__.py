"""The application: commands that train, evaluate and report."""
