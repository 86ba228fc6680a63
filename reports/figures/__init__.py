"""The figures, each drawing beside its caption."""
