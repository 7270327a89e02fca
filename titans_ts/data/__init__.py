"""The frame side: from tables to flat arrays, and forecasts back to tables. Never imports torch."""
