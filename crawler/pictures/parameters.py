"""What web UIs write down of a picture: the prompt, and the settings as one text."""

# Where the settings begin in web UIs' `parameters`, after the prompt.
SETTINGS = ("\nNegative prompt:", "\nSteps:")


def prompt_of_parameters(parameters: str) -> str:
    """Return what a web UI was asked for, of all that it writes down."""
    if "Steps:" not in parameters and "Negative prompt:" not in parameters:
        return ""
    # The first line may already be of settings, where there was no prompt.
    text = "\n" + parameters
    ends = [at for at in map(text.find, SETTINGS) if at >= 0]
    return text[: min(ends, default=len(text))].strip()
