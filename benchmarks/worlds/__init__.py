"""The comparison of search methods on tiny teachers whose blocks are alive, and its measurements.

`campaign` measures (resumable, on any number of processes of a machine), `choose` finds the designs
of every method from one draw of labels, `gate` says whether a teacher deserves a search, `compare`
tells who won from committed labels alone. What is compared, and how, was written before:
docs/decisions/0030-one-comparison-written-first.md.
"""
