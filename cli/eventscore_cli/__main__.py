"""`python -m eventscore_cli`: the `eventscore` command, for starters that want a module, such as torchrun."""

from eventscore_cli.main import main

if __name__ == "__main__":
    main()
