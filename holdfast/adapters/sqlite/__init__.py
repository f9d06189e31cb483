"""What SQLite keeps: the batch journal and the full-text index of documents."""
