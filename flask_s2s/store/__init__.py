"""The store: the tables, all SQL, and the facts about databases."""
