"""Objects by key in a shared folder or an object store, and the lease on an experiment there."""
