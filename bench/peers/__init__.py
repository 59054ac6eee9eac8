"""The contestants: the product and what it is measured beside, each in a process of its own."""
