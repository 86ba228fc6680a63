"""From sources to a finished corpus folder, in processes of this machine or on a Ray cluster."""
