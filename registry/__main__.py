"""`autolora`, and `python -m registry` where no script is installed."""

from registry.cli.loading import load_less, loading


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback from its first moment on."""
    with loading():
        load_less()
        from registry.cli.app import app
        from registry.cli.streams import write_any_text
    write_any_text()
    app(prog_name="autolora")


if __name__ == "__main__":
    main()
