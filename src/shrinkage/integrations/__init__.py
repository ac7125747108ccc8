"""What other libraries call or show: one library a file, imported by whoever uses it."""
