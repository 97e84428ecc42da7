r"""Prompts written so that other programs read them as plain words.

Here a prompt is plain text. A1111 and ComfyUI give words in parentheses more weight, so there
`saber (fate)` is `saber \(fate\)`.
"""

import re

# Their calls of networks, and the words by which A1111 joins prompts and parts them.
CALL = re.compile(r"<(?=\w+:[^>]+>)")
JOINS = re.compile(r"\b(?:AND|BREAK)\b")
# What A1111 takes for the weight of a whole prompt, at its end.
WEIGHT = re.compile(r"(:\s*[-+]?(?:\d+\.?|\d*\.\d+))$")
# By this ComfyUI puts a file's vectors in place of words, or nothing where it lacks the file.
EMBEDDING = re.compile(r"(?<!\S)embedding(?=:)")


def for_a1111(prompt: str) -> str:
    r"""Write a prompt for A1111 and Forge, on one line: a second one may be settings.

    Their grammar [1] escapes brackets and the backslash. What it cannot escape is changed as
    little as keeps it plain: `<lora:a:1>` gets a space, AND and BREAK small letters, `at 10:30` a
    comma behind it, and `#` goes, since with it all that follows would.

    - [1] prompt_parser.py, extra_networks.py and processing_scripts/comments.py in modules/ of
      https://github.com/AUTOMATIC1111/stable-diffusion-webui
    """
    line = " ".join(prompt.split()).replace("#", "")
    line = CALL.sub("< ", JOINS.sub(lambda word: word[0].lower(), line))
    return WEIGHT.sub(r"\1,", re.sub(r"([\\()\[\]])", r"\\\1", line))


def for_comfyui(prompt: str, *, weighs_words: bool = True) -> str:
    r"""Write a prompt for ComfyUI's text encoders [1], of which most weigh words.

    Those know `\(` and `\)`. What cannot be escaped, `embedding:x`, gets a space.

    - [1] comfy/sd1_clip.py of https://github.com/comfyanonymous/ComfyUI
    """
    plain = EMBEDDING.sub("embedding ", prompt)
    return re.sub(r"([()])", r"\\\1", plain) if weighs_words else plain


def for_comfyui_editor(prompt: str) -> str:
    r"""Write what ComfyUI runs for its editor [1], which chooses among `{a|b}` and drops comments.

    Comments cannot be escaped, so `//` and `/*` get a space.

    - [1] processDynamicPrompt of https://github.com/Comfy-Org/ComfyUI_frontend
    """
    return re.sub(r"/(?=[/*])", "/ ", re.sub(r"([{}])", r"\\\1", prompt))
