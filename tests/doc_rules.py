"""What of the pages' commands is not run, and why; and what stands for what a reader has."""

# By how a command begins.
NOT_RUN = {
    "autolora serve": "runs until it is stopped: tests/registry/cli/test_server.py",
    "autolora mcp": "talks with an assistant: tests/registry/cli/test_mcp.py",
    "autolora worker": "runs until it is stopped: tests/registry/refresh/test_workers.py",
    "autolora schedule": "runs until it is stopped: tests/registry/refresh/test_night.py",
    "autolora caption": "wants a vision model: tests/registry/cli/test_caption.py",
    "autolora train-encoder": "takes minutes: tests/registry/cli/test_train_encoder.py",
    "autolora train-gates": "takes minutes: tests/registry/cli/test_train_gates.py",
    "autolora encoders rollback flux.1": "wants an encoder for FLUX.1",
    "autolora restore": "wants an empty home and database: tests/registry/cli/test_backup.py",
    "autolora refresh --source https": "crawls a live hub",
    "autolora inspect https": "reads from a live hub: tests/registry/cli/test_inspect.py",
    ". demo/out/env": "sets what the test sets",
    "make": "installs packages, or takes minutes",
    "python -m": "takes minutes or hours, or writes pages of docs",
    "pip": "installs packages",
    "python3 -m venv": "installs packages: tests/test_wheel.py",
    ".venv/bin/pip": "installs packages: tests/test_wheel.py",
    ". .venv/bin/activate": "sets what the test sets",
    "pre-commit": "installs hooks",
    "vllm": "wants a GPU",
    "ollama": "downloads a model",
    "export": "sets what test_doc_commands.py knows",
}
# In running text these only name the command: they want more words.
NAMES = ("search", "grid", "compare", "fuse", "similar", "duplicates", "export")
# What draws has so few steps that nothing is to be seen, and takes no time.
DRAWING = ("fuse", "grid", "compare")
FEW_STEPS = ("--steps", "2")
# Words that stand for what somebody has.
PLACEHOLDERS = {
    "ID": "1",
    "FOLDER": "my-loras",
    "FILE": "adapter.safetensors",
    "NAME": "second",
    "[BASE_MODEL]": "demo-flux-tiny",
}


def reason_not_to_run(words: list[str]) -> str | None:
    line = " ".join(words)
    return next((why for begin, why in NOT_RUN.items() if line.startswith(begin)), None)
