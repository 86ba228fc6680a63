"""An experiment between a driver, its workers and a storage."""
