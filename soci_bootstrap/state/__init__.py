"""What is kept between runs: record, backups, health."""
