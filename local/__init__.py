"""What runs on one's own machine: the stand-ins of the cloud, and the command line."""
