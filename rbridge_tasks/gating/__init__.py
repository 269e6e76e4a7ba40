"""Whether a checkpoint may pass: compared with a baseline over the same items, for continuous integration."""
