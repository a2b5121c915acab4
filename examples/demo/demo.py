"""The main job: gzip under its ready-made policy, then a program that is refused a system call."""

from __future__ import annotations

import gzip

from stockade import Executor, Policy, Result, Status

TEXT = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(50_000))
CURIOUS = "import socket; socket.create_connection(('192.0.2.1', 80)); print('connected')"


def compress() -> bool:
    """Compress real input; say whether the output is right."""
    print("1. gzip -c, under the policy 'gzip'")
    result = Executor(Policy.profile("gzip")).run(["gzip", "-c"], input=TEXT)
    right = result.status is Status.OK and gzip.decompress(result.stdout) == TEXT
    print(f"   {len(TEXT)} bytes in, {len(result.stdout)} bytes out, exit code {result.returncode}")
    print(f"   unpacked again, it is {'the input' if right else 'NOT the input'}")
    print(f"   in force: {', '.join(layer.name for layer in result.layers if layer.state == layer.IN_FORCE)}")
    return right


def refuse() -> Result:
    """Run a script that wants to connect to the network, which its policy does not allow."""
    print("\n2. python3, under the policy 'python3', with a script that opens a network connection")
    return Executor(Policy.profile("python3")).run(["python3", "-c", CURIOUS])


def main() -> int:
    """Run both; 0 when both ended as they should."""
    print("This demo compresses text with gzip in a sandbox, and shows what a breach of a policy looks like.\n")
    compressed = compress()
    refused = refuse()
    print("   The report of the run:\n")
    print(refused.report())
    as_it_should = compressed and refused.status is Status.VIOLATION and not refused.stdout
    print("Both ended as they should." if as_it_should else "THIS IS NOT WHAT SHOULD HAPPEN.")
    return 0 if as_it_should else 1


if __name__ == "__main__":
    raise SystemExit(main())
