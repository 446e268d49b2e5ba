# ruff: noqa: E501
"""Unchanged clients against a running server -> docs/CLIENTS.md, a matrix of client and feature.

    steersman serve --port 8000 &
    python bench/clients.py --url http://127.0.0.1:8000 --model NAME --python VENV/bin/python VENV2/bin/python --aider VENV3/bin/aider --node DIR

`--python`: of virtual environments with the Python clients (openai, anthropic, litellm, langchain-openai, `llm` in the
first; see `client_checks.py`), each tried where one is not installed in those before; `--node`: a folder where npm
installed openai, @anthropic-ai/sdk, ai and the like. What is not installed is named and left out of the matrix. Features that need what the served model's template lacks (tools) are
told as refused, with the server's own words: a refusal in the client's own error class is the right answer there.
Clients whose servers do not install here are rows "(requests)": their bodies of `client_forms.py`. `--forms` runs these
alone, and leaves the other rows as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client_checks import LIBRARIES, NODE_HEADS, NODE_LIBRARIES
from client_forms import FORMS, Form, read

Rows = dict[str, dict[str, str]]
Wanted = Callable[[str], bool]
OUT = Path(__file__).parent.parent / "docs" / "CLIENTS.md"
SECONDS = 180
TOOL = '{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{}}}}'
CITY = TOOL.replace(
    '"properties":{}', '"properties":{"city":{"enum":["Ulm","Bonn"]}},"required":["city"],"additionalProperties":False'
)
OPENAI = (
    "import openai; c=openai.OpenAI(base_url=URL+'/v1',api_key='k',max_retries=0); M=[{'role':'user','content':'Hi'}]; "
)
ANTHROPIC = "import anthropic; c=anthropic.Anthropic(base_url=URL,api_key='k',max_retries=0); M=[{'role':'user','content':'Hi'}]; "
LANGCHAIN = (
    "from langchain_openai import ChatOpenAI; c=ChatOpenAI(base_url=URL+'/v1',api_key='k',model=MODEL,max_tokens=8); "
)
LLAMA = (
    "from llama_index.llms.openai_like import OpenAILike; "
    "c=OpenAILike(api_base=URL+'/v1',api_key='k',model=MODEL,is_chat_model=True,max_tokens=8); "
)
LITELLM = "import litellm; K=dict(model='openai/'+MODEL,api_base=URL+'/v1',api_key='k',messages=[{'role':'user','content':'Hi'}]); "
CHECKS: dict[str, dict[str, str]] = {
    "openai (Python)": {
        "models": OPENAI + "assert MODEL in [m.id for m in c.models.list()]",
        "chat": OPENAI
        + "assert c.chat.completions.create(model=MODEL,messages=M,max_tokens=8).choices[0].message.content",
        "stream": OPENAI
        + "assert ''.join(e.choices[0].delta.content or '' for e in c.chat.completions.create(model=MODEL,messages=M,max_tokens=8,stream=True))",
        "tools": OPENAI + f"c.chat.completions.create(model=MODEL,messages=M,max_tokens=8,tools=[{TOOL}])",
        "forced tool": OPENAI
        + f"r=c.chat.completions.create(model=MODEL,messages=M,max_tokens=60,tools=[{CITY}],tool_choice='required'); assert r.choices[0].message.tool_calls",
        "JSON schema": OPENAI
        + "r=c.chat.completions.create(model=MODEL,messages=M,max_tokens=40,response_format={'type':'json_schema','json_schema':{'name':'a','schema':{'type':'object','properties':{'a':{'type':'boolean'}},'required':['a'],'additionalProperties':False}}}); import json; json.loads(r.choices[0].message.content)",
        "responses": OPENAI
        + "r=c.responses.create(model=MODEL,input='Hi',max_output_tokens=8); assert c.responses.create(model=MODEL,input='More',previous_response_id=r.id,max_output_tokens=8).output_text",
        "embeddings": OPENAI + "assert len(c.embeddings.create(model=MODEL,input=['a','b']).data)==2",
        "moderations": OPENAI + "assert not c.moderations.create(input='Hi').results[0].flagged",
        "completions": OPENAI + "assert c.completions.create(model=MODEL,prompt='Once',max_tokens=8).choices[0].text",
        "errors": OPENAI
        + "\ntry: c.chat.completions.create(model='no-such',messages=M); raise SystemExit(1)\nexcept openai.NotFoundError: pass",
    },
    "anthropic (Python)": {
        "models": ANTHROPIC + "assert MODEL in [m.id for m in c.models.list()]",
        "chat": ANTHROPIC + "assert c.messages.create(model=MODEL,max_tokens=8,messages=M).content[0].text",
        "stream": ANTHROPIC
        + "\nwith c.messages.stream(model=MODEL,max_tokens=8,messages=M) as s: assert ''.join(s.text_stream)",
        "tools": ANTHROPIC
        + "c.messages.create(model=MODEL,max_tokens=8,messages=M,tools=[{'name':'f','input_schema':{'type':'object'}}])",
        "count tokens": ANTHROPIC + "assert c.messages.count_tokens(model=MODEL,messages=M).input_tokens>0",
        "errors": ANTHROPIC
        + "\ntry: c.messages.create(model='no-such',max_tokens=8,messages=M); raise SystemExit(1)\nexcept anthropic.NotFoundError: pass",
    },
    "litellm": {
        "chat": LITELLM + "assert litellm.completion(**K,max_tokens=8).choices[0].message.content",
        "stream": LITELLM
        + "assert ''.join(e.choices[0].delta.content or '' for e in litellm.completion(**K,max_tokens=8,stream=True))",
        "tools": LITELLM + f"litellm.completion(**K,max_tokens=8,tools=[{TOOL}])",
        "embeddings": "import litellm; assert litellm.embedding(model='openai/'+MODEL,api_base=URL+'/v1',api_key='k',input=['a']).data",
    },
    "langchain-openai": {
        "chat": LANGCHAIN + "assert c.invoke('Hi').content",
        "stream": LANGCHAIN + "assert ''.join(str(e.content) for e in c.stream('Hi'))",
        "tools": LANGCHAIN + f"c.bind_tools([{TOOL}]).invoke('Hi')",
        "responses": LANGCHAIN.replace("max_tokens=8", "max_tokens=8,use_responses_api=True")
        + "assert c.invoke('Hi').content",
        "embeddings": "from langchain_openai import OpenAIEmbeddings as E; assert E(base_url=URL+'/v1',api_key='k',model=MODEL,check_embedding_ctx_length=False).embed_query('a')",
    },
    "llama-index (openai-like)": {
        "chat": LLAMA
        + "from llama_index.core.llms import ChatMessage; assert c.chat([ChatMessage(role='user',content='Hi')]).message.content",
        "stream": LLAMA
        + "from llama_index.core.llms import ChatMessage; assert ''.join(e.delta or '' for e in c.stream_chat([ChatMessage(role='user',content='Hi')]))",
    },
}
NODE = {
    "openai (Node)": {
        "models": "for await (const m of c.models.list()) if (m.id === MODEL) process.exit(0); process.exit(1)",
        "chat": "const r=await c.chat.completions.create({model:MODEL,messages:M,max_tokens:8}); if(!r.choices[0].message.content) process.exit(1)",
        "stream": "let t=''; for await (const e of await c.chat.completions.create({model:MODEL,messages:M,max_tokens:8,stream:true})) t+=e.choices[0].delta.content||''; if(!t) process.exit(1)",
        "responses": "const r=await c.responses.create({model:MODEL,input:'Hi',max_output_tokens:8}); if(!r.output_text) process.exit(1)",
        "embeddings": "const r=await c.embeddings.create({model:MODEL,input:'a'}); if(!r.data[0].embedding.length) process.exit(1)",
        "errors": "try{await c.chat.completions.create({model:'no-such',messages:M}); process.exit(1)}catch(e){process.exit(e.status===404?0:1)}",
    },
    "anthropic (Node)": {
        "chat": "const r=await c.messages.create({model:MODEL,messages:M,max_tokens:8}); if(!r.content[0].text) process.exit(1)",
        "stream": "let t=''; for await (const e of c.messages.stream({model:MODEL,messages:M,max_tokens:8})) t+=e.delta?.text||''; if(!t) process.exit(1)",
    },
}
HEADS = {
    "openai (Node)": "import OpenAI from 'openai'; const c=new OpenAI({baseURL:URL_+'/v1',apiKey:'k',maxRetries:0});",
    "anthropic (Node)": "import A from '@anthropic-ai/sdk'; const c=new A({baseURL:URL_,apiKey:'k',maxRetries:0});",
}
NODE |= NODE_LIBRARIES
HEADS |= NODE_HEADS
COLUMNS = (
    "models chat stream tools|forced tool|JSON schema|responses|embeddings|moderations|completions|count tokens|errors"
)


@dataclass(frozen=True)
class Server:
    url: str
    model: str


def ran(command: list[str], cwd: str | None = None) -> str:
    """yes, refused (the server's words in the client's own error), or the last line of what went wrong."""
    environment = os.environ | {"OPENAI_API_KEY": "k", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=cwd, env=environment)
    except subprocess.TimeoutExpired:
        return f"no answer in {SECONDS} s"
    if done.returncode == 0:
        return "yes"
    told = done.stderr + done.stdout
    print(told[-3000:], file=sys.stderr)
    return _refused(told or f"exit {done.returncode}")


def _refused(told: str) -> str:
    if "expected a dialogue without tools" in told or "does not say how it calls tools" in told:
        return "refused"
    return "no: " + told.strip().splitlines()[-1][:100].replace("|", "/")


def sent(form: Form, server: Server) -> str:
    """As `ran`, of one request."""
    path, body = form
    data = json.dumps(body | {"model": server.model}).encode()
    asked = urllib.request.Request(f"{server.url}/v1/{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            return "yes" if read(path, answer.read().decode().split("\n")) else "no: it is empty"
    except urllib.error.HTTPError as error:
        return _refused(error.read().decode())
    except (OSError, ValueError, KeyError, AssertionError) as error:
        return _refused(repr(error))


def form_rows(server: Server, wanted: Wanted) -> Rows:
    return {
        f"{client} (requests)": {feature: sent(form, server) for feature, form in forms.items()}
        for client, forms in FORMS.items()
        if wanted(client)
    }


ABSENT = ("No module named", "Cannot find package")
"""What Python and Node say where a client is not installed."""


def row_of(client: str, checks: dict[str, str], attempts: list[Callable[[str], str]]) -> dict[str, str]:
    """One client's cells, from the first of `attempts` (ways to run code) in which it is installed; {} where none."""
    for attempt in attempts:
        row = {}
        for feature, code in checks.items():
            row[feature] = attempt(code)
            if any(absent in row[feature] for absent in ABSENT):
                break
        else:
            print(f"{client}: {row}", file=sys.stderr, flush=True)
            return row
    print(f"{client}: not installed", file=sys.stderr, flush=True)
    return {}


def python_rows(pythons: list[str], server: Server, wanted: Wanted) -> Rows:
    head = f"URL={server.url!r}; MODEL={server.model!r}\n"
    attempts = [lambda code, python=python: ran([python, "-c", head + code]) for python in pythons]
    every = CHECKS | LIBRARIES
    return {client: row_of(client, checks, attempts) for client, checks in every.items() if wanted(client)}


def node_rows(folder: str, server: Server, wanted: Wanted) -> Rows:
    rows, command = {}, ["node", "--input-type=module", "-e"]
    for client, checks in NODE.items():
        head = f"const URL_={server.url!r}, MODEL={server.model!r}, M=[{{role:'user',content:'Hi'}}]; {HEADS[client]}\n"
        if wanted(client):
            rows[client] = row_of(client, checks, [lambda code, head=head: ran([*command, head + code], folder)])
    return rows


def tool_rows(python: str, aider: str, server: Server, wanted: Wanted) -> Rows:
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "extra-openai-models.yaml").write_text(
            f"- model_id: ours\n  model_name: {server.model}\n  api_base: {server.url}/v1\n"
        )
        llm = [
            "env",
            f"LLM_USER_PATH={folder}",
            str(Path(python).parent / "llm"),
            "-m",
            "ours",
            "-o",
            "max_tokens",
            "8",
        ]
        if wanted("llm"):
            rows["llm"] = {"stream": ran([*llm, "Hi"]), "chat": ran([*llm, "--no-stream", "Hi"])}
        if aider and wanted("aider"):
            options = [
                "--no-git",
                "--yes-always",
                "--no-check-update",
                "--no-show-model-warnings",
                "--no-analytics",
                "--message",
            ]
            base = [
                "--model",
                f"openai/{server.model}",
                "--openai-api-base",
                f"{server.url}/v1",
                "--openai-api-key",
                "k",
            ]
            rows["aider"] = {"stream": ran([aider, *base, *options, "Say hi"], folder)}
    return rows


def matrix(rows: Rows) -> str:
    columns = [c for part in COLUMNS.split("|") for c in (part.split() if "models" in part else [part])]
    lines = [f"| client | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(row.get(c, '') for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def as_they_are(text: str) -> Rows:
    """The rows of the table."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    (_, *columns), _, *rows = cells
    return {name: dict(zip(columns, row, strict=True)) for name, *row in rows}


def main() -> None:
    ask = argparse.ArgumentParser()
    for name in ("--url", "--model"):
        ask.add_argument(name, required=True)
    ask.add_argument("--python", nargs="+", default=[sys.executable])
    ask.add_argument("--only", nargs="+", help="rows to make anew, by their beginnings; the others stay")
    ask.add_argument("--aider", default="")
    ask.add_argument("--node", default="")
    ask.add_argument("--forms", action="store_true")
    given = ask.parse_args()
    server = Server(given.url, given.model)
    text = OUT.read_text(encoding="utf-8")
    begin, end = "<!-- made by bench/clients.py -->", "<!-- end -->"
    table = text[text.index(begin) : text.index(end)]
    only = tuple(given.only or ())
    rows: Rows = as_they_are(table) if given.forms or only else {}

    def wanted(name: str) -> bool:
        return not only or name.startswith(only)

    if not given.forms:
        rows |= python_rows(given.python, server, wanted)
        rows |= node_rows(given.node, server, wanted) if given.node else {}
        rows |= tool_rows(given.python[0], given.aider, server, wanted)
    rows |= form_rows(server, wanted)
    rows = {name: row for name, row in rows.items() if row}
    made = f"{begin}\n{matrix(rows)}\n{end}"
    OUT.write_text(text[: text.index(begin)] + made + text[text.index(end) + len(end) :], encoding="utf-8")
    print(matrix(rows))


if __name__ == "__main__":
    main()
