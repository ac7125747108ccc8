"""What a checkpoint holds, by what its members are."""
