"""Analysis of a detector's cost: floating-point operations, memory and time, by part."""
