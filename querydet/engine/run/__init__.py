"""A run as a whole: its folder, config, length and parts."""
