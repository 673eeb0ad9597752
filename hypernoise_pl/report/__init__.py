"""From rows of images to summaries, tables, figures and pages."""
