"""Video-LLaMA: its files, its options, and both of its sides."""
