"""Classic BPF as seccomp runs it: instructions, the compiler of resolved policies, and an interpreter."""
