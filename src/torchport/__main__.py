"""``python -m torchport`` is the command line."""

from torchport.cli import main

if __name__ == "__main__":
    main()
