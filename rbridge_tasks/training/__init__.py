"""Score a model while it trains: ``InLoop`` for any loop, ``RBridgeCallback`` for ``transformers.Trainer``."""
