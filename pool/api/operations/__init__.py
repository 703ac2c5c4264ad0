"""What OpenAPI says of each route."""
