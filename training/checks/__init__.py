"""What is refused, and what memory it takes, before anything is trained.

Runs anywhere with torch.
"""
