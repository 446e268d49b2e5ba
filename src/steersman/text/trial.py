"""Chat templates may come from strangers: each is tried once in its own process, with limits of time and memory.

A template is a program. Jinja's sandbox keeps it from files and network, but not from loops in loops or from a text
that doubles a thousand times.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys

SECONDS, MEMORY, TEXT = 3, 1 << 30, 1 << 20
"""Limits: seconds of processor time, bytes of memory, and characters written for a dialogue of a few hundred."""
PATIENCE = 60.0
"""Wall-clock limit in seconds: longer, since other processes may use the processor."""
PROGRAM = (
    f"SECONDS, MEMORY, TEXT = {SECONDS}, {MEMORY}, {TEXT}"
    + """
import json, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
except (ImportError, ValueError, OSError):
    pass
import jinja2, jinja2.sandbox, jinja2.ext
class Generation(jinja2.ext.Extension):
    tags = {"generation"}
    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("same"), [], [], body).set_lineno(line)
    def same(self, caller):
        return caller()
def no(message):
    raise jinja2.TemplateError(message)
environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
environment.filters["tojson"] = lambda x, **options: json.dumps(x, ensure_ascii=False)
environment.globals.update(raise_exception=no, strftime_now=lambda format: "")
source, tokens = json.load(sys.stdin)
template = environment.from_string(source)
turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": "word " * 20} for i in range(7)]
size = 0
for messages in (turns[:1], turns, [{"role": "system", "content": "word"}] + turns):
    try:
        given = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
        for piece in template.generate(**given, **tokens):
            size += len(piece)
            if size > TEXT:
                sys.exit("writes more than %d characters for dialogues of a few hundred" % TEXT)
    except MemoryError:
        sys.exit("takes more than %d MiB of memory" % (MEMORY >> 20))
    except Exception:
        pass
"""
)


@functools.lru_cache(maxsize=256)
def check_template(source: str) -> None:
    """ValueError where rendering a short dialogue takes more time, memory or text than any template can need."""
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM],
            input=json.dumps([source, tokens]),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"the chat template takes more than {PATIENCE:g} s for a short dialogue") from None
    if done.returncode < 0:  # ended by a signal: the limit of time, or too little memory
        raise ValueError(f"the chat template takes more than {SECONDS} s of processor time for a short dialogue")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        raise ValueError(f"the chat template cannot be used: {last}")
