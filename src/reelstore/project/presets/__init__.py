"""Settings by name: what `reelstore preset apply` writes into params.yaml."""
