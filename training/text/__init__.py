"""Reading texts, with learned words in them.

Runs anywhere with torch.
"""
