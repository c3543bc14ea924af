"""What every ssmd service needs: models, rules, the change envelope, names, settings, runtime."""
