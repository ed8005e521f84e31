"""The desired state and the steps to it: config.toml tuning, units, wiring, decompressor."""
