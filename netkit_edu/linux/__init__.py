"""Linux as seen through a syscall door, as a backend."""
