"""Management of model versions, and their transfer between stores."""
