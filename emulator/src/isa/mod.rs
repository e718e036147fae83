//! The instruction set: registers, and what each instruction does to 32 lanes of them.
