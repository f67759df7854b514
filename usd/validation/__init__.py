"""What the data must satisfy before they are packed."""
