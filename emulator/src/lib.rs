//! A GPU for machines without one: executes PTX warp by warp on the CPU, behind the CUDA driver API.
