"""State kept between runs: record, backups, health."""
