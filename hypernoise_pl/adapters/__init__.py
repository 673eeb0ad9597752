"""Trained adapters in files: adapter folders, PEFT and LoRA formats, model cards."""
