"""What runs in a Ray worker: the trainable, its reports, and faults that are not the trial's
own."""
