"""What training runs of all networks share: rates, tables, signals."""
