"""``rbridge frequencies``: how often each token occurs in a corpus."""

from __future__ import annotations

from typing import Annotated

import typer

from rbridge_tasks.cli import options


def frequencies(
    corpus: Annotated[
        list[str], typer.Argument(help="Text, JSON Lines and Parquet files, also .gz and .zst, and folders of them.")
    ],
    tokenizer: Annotated[str, typer.Option(help="Tokenizer of the models to be scored: a folder or a Hub name.")],
    output: Annotated[str, typer.Option("--output", "-o", help="File to write: .parquet.")],
    field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text",
    processes: Annotated[int | None, typer.Option(min=1, help="Processes that tokenise. Default: one a core.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Count the tokens of a corpus, for what rbridge proxies and the tasks rbridge_proxies weight by token frequency.

    Example: rbridge frequencies corpus/ --tokenizer CKPT -o frequencies.parquet
    """
    from tqdm import tqdm

    from rbridge_tasks.cli.output import print_json
    from rbridge_tasks.frequencies.counting import count_tokens
    from rbridge_tasks.frequencies.frequency_file import SUFFIX, write_frequencies
    from rbridge_traces.files import check_suffix

    check_suffix(output, (SUFFIX,), "a file of token frequencies")
    with tqdm(desc="Counting tokens", unit="text", disable=None) as bar:
        counted = count_tokens(corpus, tokenizer, field=field, processes=processes, on_progress=bar.update)
    write_frequencies(counted, output)
    summary = {
        "output": output,
        "texts": counted.texts,
        "tokens": int(counted.counts.sum()),
        "vocabulary": counted.tokenizer.vocab_size,
        "seen": int((counted.counts > 0).sum()),
        "tokenizer": tokenizer,
        "sha256": counted.sha256,
    }
    if as_json:
        print_json(summary)
        return
    typer.echo(
        f"{summary['tokens']:,} tokens of {counted.texts:,} texts in {output}; {summary['seen']:,} of the "
        f"{summary['vocabulary']:,} tokens of {tokenizer} occur"
    )
