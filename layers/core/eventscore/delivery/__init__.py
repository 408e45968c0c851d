"""Where answers and rejected events go: `sink` is the interface, `sqs` a queue, `rejection` the reject queue's message."""
