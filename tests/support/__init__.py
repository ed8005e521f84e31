"""What tests share: nodes and trees in memory or on disk, stand-ins, hostile inputs."""
