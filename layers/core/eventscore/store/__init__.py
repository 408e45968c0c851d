"""Where versions live: a folder or an S3 bucket, behind one interface.

`objects` says what a store of objects can do, `folder` and `s3` do it, `versions` gives the objects their meaning (versions
written once, channels moved by compare-and-swap), `location` turns ``s3://bucket/prefix`` or a path into a store.
"""
