"""Container pool."""
