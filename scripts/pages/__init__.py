"""What the documentation is made of: pages as they are written, and a reference that is generated.

It imports `sdsearch` and nothing of mkdocs, whose door is `hooks`. Start at `files`, then `keys`.
"""
