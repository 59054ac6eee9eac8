"""What a worker does with a part that it claimed."""
