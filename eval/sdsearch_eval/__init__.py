"""The harness: samples, sampling, recovery, metrics and labels of UNets."""
