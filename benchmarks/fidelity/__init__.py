"""Who is true to a customization and still moves."""
