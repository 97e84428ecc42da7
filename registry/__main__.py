"""`python -m registry` is `autolora`, also where no script is installed."""

from registry.cli.app import app

app(prog_name="autolora")
