"""What the end-to-end tests share: a daemon, a laboratory of VPCs, and probes inside instances."""
