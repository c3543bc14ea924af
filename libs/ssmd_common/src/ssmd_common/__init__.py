"""What every ssmd service needs: columns and rows, rules, names, settings, connections, runtime."""
