"""LoRA over a frozen network, and the base class of adapters."""
