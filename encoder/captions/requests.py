"""What a chat endpoint is sent for one image, and how its answer reads."""

import json
from typing import Any

from PIL.Image import Image

from crawler.foreign_text import one_line, quoted
from encoder.captions.captioner import Language
from encoder.captions.images import jpeg_address
from encoder.captions.prompts import MAX_TOKENS, TEMPERATURE, answer_schema, instruction
from encoder.errors import CaptionError

# Thinking makes captions slower and dearer, not better. DashScope has one switch for it, vLLM
# hands another to the model's template.
_NO_THOUGHTS = {"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": False}}
_BY_SCHEMA = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "captions", "strict": True, "schema": answer_schema()},
    }
}
_PLAIN = {"max_tokens": MAX_TOKENS, "temperature": TEMPERATURE}
# What servers may be asked for beside the question itself, from the most helpful to the least: a
# server that refuses one form (400) is asked in the next one. The first is for Ollama, whose
# switch for thinking older vLLMs refuse; models before Qwen3.7 at DashScope know no schema. The
# last is for OpenAI's models that think: they take no temperature, a length under another name,
# and count their thoughts in it, which cannot be switched off.
FORMS: tuple[dict[str, Any], ...] = (
    {**_PLAIN, **_BY_SCHEMA, **_NO_THOUGHTS, "reasoning_effort": "none"},
    {**_PLAIN, **_BY_SCHEMA, **_NO_THOUGHTS},
    {**_PLAIN, "response_format": {"type": "json_object"}, **_NO_THOUGHTS},
    _PLAIN,
    {"max_completion_tokens": 4 * MAX_TOKENS, "reasoning_effort": "low"},
)


def make_body(image: Image, language: Language, model: str, form: int) -> bytes:
    """Return the body of a request; `form` is a place in `FORMS`."""
    content = [
        {"type": "image_url", "image_url": {"url": jpeg_address(image)}},
        {"type": "text", "text": instruction(language)},
    ]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        **FORMS[form],
    }
    return json.dumps(body).encode()


def read_completion(data: bytes) -> str:
    """Return the text that a completion holds.

    Raises:
        ValueError: it is no completion, whoever sent it.
        CaptionError: it is one, without a whole answer in it.
    """
    try:
        answer = json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON without end") from error
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
        refusal, reason = message.get("refusal"), choice.get("finish_reason")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"no completion: {quoted(data.decode(errors='replace'))}") from error
    if isinstance(refusal, str) and refusal.strip():
        raise CaptionError(f"the model refuses: {quoted(refusal)}")
    if reason == "content_filter":
        raise CaptionError("the endpoint's filter held the answer back")
    if reason == "length":
        raise CaptionError("the answer is cut off after as many tokens as it may have")
    if not isinstance(content, str) or not content.strip():
        raise CaptionError("the answer is empty")
    return content


def error_message(data: bytes) -> str:
    """Return what an endpoint says went wrong, in one line; "" where it says nothing.

    Servers write {"error": {"message": …}}, {"error": …}, {"message": …} or {"detail": …}.
    """
    text = data.decode(errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return one_line(text, 200)
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return one_line(found if isinstance(found, str) else json.dumps(found), 200)
