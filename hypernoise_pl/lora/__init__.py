"""What trains: LoRA over a frozen network, and the contract of an adapter."""
