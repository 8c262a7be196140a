"""`python -m nasnet`: the same as the installed command, for `torchrun -m nasnet`."""

from nasnet.cli import main

if __name__ == "__main__":
    main()
