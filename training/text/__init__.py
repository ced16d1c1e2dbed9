"""Reading texts, with learned words in them."""
