"""Options of `steersman cold`."""

from __future__ import annotations

from typing import Annotated

import typer

SeedsArgument = Annotated[
    list[str], typer.Argument(metavar="SEEDS...", help="Data sets or files of a few prompts (.txt: one a line).")
]
PromptsArgument = Annotated[list[str], typer.Argument(metavar="PROMPTS...", help="Data sets or files of prompts.")]
DataArgument = Annotated[
    list[str], typer.Argument(metavar="DATA...", help="Training data sets of demonstrations or prompts.")
]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Show what would become of it; write nothing.")]
SheetName = Annotated[str, typer.Option("--name", help="Name of the sheet in proposals/.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the data set.")]
SplitOption = Annotated[str, typer.Option("--split", help="train, validation, test, auto or three shares.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Same seed, same model, same result.")]
MostOption = Annotated[int, typer.Option("--most", min=0, help="Take at most this many records; 0 takes all.")]
UrlOption = Annotated[
    str,
    typer.Option(
        "--url", help="An OpenAI-compatible API, such as http://127.0.0.1:8000/v1; default: the workspace's model."
    ),
]
TeacherOption = Annotated[
    str, typer.Option("--model", help="The model's name at --url, or a model as `chat --model` takes it.")
]
KeyOption = Annotated[
    str, typer.Option("--api-key-env", metavar="NAME", help="Environment variable that holds the API's key.")
]
HeatOption = Annotated[float, typer.Option("--temperature", min=0, help="Sampling temperature.")]
TokensOption = Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens of an answer.")]
KeepOption = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="STEP", help="Leave in: notes, quotes, signatures, greetings or macros."),
]
ShowOption = Annotated[int, typer.Option("--show", min=0, help="Dialogues to show as they come out.")]
DialoguesOption = Annotated[str, typer.Option("--kind", help="demonstrations or prompts.")]
LogsOption = Annotated[
    list[str] | None,
    typer.Option("--in", metavar="LOGS", help="Data sets or files to look in; default: all training data."),
]
ByOption = Annotated[
    str, typer.Option("--by", help="chars (runs of characters, any language) or model (its hidden states).")
]
EmbedderOption = Annotated[
    str, typer.Option("--model", help="With --by model: which, as `chat --model` takes it; default: base.")
]
GroupsOption = Annotated[int, typer.Option("--groups", min=0, help="Groups; 0: the root of half the prompts.")]
LeastOption = Annotated[float, typer.Option("--least", min=0, max=1, help="Least likeness to a seed.")]
RetrieveOption = Annotated[int, typer.Option("--most", min=1, help="Prompts to retrieve.")]
CountOption = Annotated[int, typer.Option("--count", min=1, help="New prompts to make.")]
TaskOption = Annotated[str, typer.Option("--task", help="A sentence on what the assistant is for.")]
DraftsOption = Annotated[bool, typer.Option("--answers", help="Draft an answer to each, for people to correct.")]
AnswersOption = Annotated[
    int,
    typer.Option("-n", "--answers", min=1, help="1: demonstrations; more: that many answers to each, to be ranked."),
]
SystemOption = Annotated[str, typer.Option("--system", help="A system prompt for the teacher alone.")]
HowOption = Annotated[
    list[str] | None,
    typer.Option("--how", help="typing, noise (by rule), paraphrase, translate (by a model); repeatable."),
]
TimesOption = Annotated[int, typer.Option("--times", min=1, help="Variants of each record by each way.")]
DeciderOption = Annotated[str, typer.Option("--by", help="Who decided; default: this account.")]
