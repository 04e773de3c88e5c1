"""What happens beside the steps: metrics, statistics, saving, progress."""
