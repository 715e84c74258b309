"""What places packs on devices. All call the same `run_pack`."""
