"""`autolora`, and `python -m registry` where no script is installed."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback from its first moment on."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        # Nothing is under way while modules are loaded: it just ends, as any program does.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from registry.cli.app import app
    from registry.cli.output import write_any_text

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    write_any_text()
    app(prog_name="autolora")


if __name__ == "__main__":
    main()
