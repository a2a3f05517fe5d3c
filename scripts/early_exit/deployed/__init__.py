"""What is copied into an export: files that stand alone, without this project or torch."""
