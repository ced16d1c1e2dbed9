"""Jobs under kills, and routes under malformed requests."""
