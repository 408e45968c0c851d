"""Event sources: each turns an invocation into records, and the records that are returned into the answer that its mapping understands.

They know nothing of models; what they have in common is the protocol in `source`, and `recognise` tells them apart.
"""
