"""What each command does once model, data and Trainer are built, and what it leaves in its folder."""
