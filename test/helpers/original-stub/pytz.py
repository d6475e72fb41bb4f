"""The original script imports pytz and uses nothing of it."""
