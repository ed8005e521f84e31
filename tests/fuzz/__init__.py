"""Coverage-guided fuzzing of everything that reads what others wrote; run it with scripts/fuzz."""
