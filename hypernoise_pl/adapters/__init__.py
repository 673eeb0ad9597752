"""What was trained, in files: our adapter folder, PEFT and LoRA formats, the model card."""
