"""The outbox: the SQL on deliveries, attempts and lanes."""
