"""Sending back what was rejected, or came back too often: at most once, and nothing lost.

`held_queue` holds messages while a run lasts; `rejects`, `dead_letters` and `stream_positions` read events from them; `journal` claims
each event before it is sent; `targets` send; `replay` is the order in which all that happens.
"""
