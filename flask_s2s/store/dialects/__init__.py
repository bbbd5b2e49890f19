"""Facts about databases and their drivers, each stated once.

Nothing else asks which database it is. Callers say what they need (`inserting_once`, `skip_locked`,
`begin_writing`), or ask what a database can do (`has_one_writer`, `chains_writes`, `notifies`).
"""
