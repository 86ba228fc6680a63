"""What the machine offers: devices, precision, versions, the allocator, CUDA graphs."""
