"""Decoder kernels: a native C++ library for CPUs with AVX-512 VNNI and BF16, and plain torch for everything else."""
