"""Options of `steersman data clean`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAMES = "exact, language, length, quality, near, contamination, unsafe, pii"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A data set's name.")]
StepsOption = Annotated[str, typer.Option("--steps", help=f"Steps in order, of: {NAMES}. Default: all of them.")]
IntoOption = Annotated[str, typer.Option("--into", metavar="NAME", help="The new set's name; default: NAME-clean.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, with examples; write nothing.")]
LanguagesOption = Annotated[
    str, typer.Option("--languages", help="Keep these alone, such as zh,en,de; default: all, counted.")
]
MinCharsOption = Annotated[int, typer.Option("--min-chars", min=0, help="Least characters of an answer.")]
MaxCharsOption = Annotated[int, typer.Option("--max-chars", min=0, help="Most characters of a record; 0: any.")]
NearOption = Annotated[float, typer.Option("--near", help="Share in common that makes two records near repeats.")]
MaskOption = Annotated[
    str,
    typer.Option(
        "--mask",
        help="Kinds of personal data to mask, of: name, phone, id, card, iban, address, email, order, account. "
        "Default: all.",
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Keep what masks hide, encrypted by this key (made if there is none)."),
]
DropUnsafeOption = Annotated[bool, typer.Option("--drop-unsafe", help="Drop what is flagged as unsafe.")]
AgainstOption = Annotated[
    list[str] | None,
    typer.Option("--against", metavar="NAME", help="Test sets for contamination; default: all of the workspace."),
]
EmbedOption = Annotated[
    str, typer.Option("--embed", metavar="MODEL", help="Look for test prompts by this model's embeddings too.")
]
SimilarOption = Annotated[float, typer.Option("--similar", help="Cosine that makes two prompts the same to --embed.")]
