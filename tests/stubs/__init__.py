"""Small stubs of both engines' REST APIs, for the adapters' tests and for `python -m benchmarks.chain`.

They speak as the real servers do, but run nothing: a run ends at once, on a timetable, or when a test says so.
"""
