"""The real programs that nodes run, built from locked Go modules and cached outside the repository.

Each folder beside this file is a Go module of its own that holds nothing but the lock of one upstream
release: its ``tool`` lines name the programs, go.mod and go.sum pin everything they are made of.
"""
