# ruff: noqa: I001  # "name as name" exports a name from a stub; one group a module

from . import (
    benchmark as benchmark,
    benchmark_names as benchmark_names,
    completions as completions,
    confidence as confidence,
    definition as definition,
    errors as errors,
    extraction as extraction,
    files as files,
    generation as generation,
    hub as hub,
    importer as importer,
    manifest as manifest,
    publish as publish,
    questions as questions,
    release as release,
    resolve as resolve,
    rows as rows,
    sample as sample,
    schema as schema,
    spans as spans,
    store as store,
    table as table,
    thinking as thinking,
    worked_examples as worked_examples,
    unknown_logprobs as unknown_logprobs,
)
from .benchmark import SHIPPED as SHIPPED, Benchmark as Benchmark, check_benchmark as check_benchmark
from .completions import (
    Completion as Completion,
    NoLogprobsError as NoLogprobsError,
    completion_of_choice as completion_of_choice,
    completion_of_tokens as completion_of_tokens,
)
from .confidence import mean_confidence as mean_confidence, with_confidence as with_confidence
from .definition import defined as defined, read_definition as read_definition
from .errors import (
    CacheCorruptError as CacheCorruptError,
    CacheNotFoundError as CacheNotFoundError,
    CompletionError as CompletionError,
    TraceError as TraceError,
    TraceImportError as TraceImportError,
)
from .extraction import (
    MalformedCompletionError as MalformedCompletionError,
    Reasoning as Reasoning,
    extract_reasoning as extract_reasoning,
    parse_completion as parse_completion,
)
from .importer import ImportReport as ImportReport, import_traces as import_traces
from .hub_push import Pushed as Pushed, push as push
from .manifest import Manifest as Manifest, TraceSet as TraceSet, VerifiedSource as VerifiedSource
from .publish import (
    Publication as Publication,
    export as export,
    import_export as import_export,
    publication as publication,
)
from .questions import Question as Question, load_questions as load_questions
from .resolve import ResolvedCache as ResolvedCache, resolve_cache as resolve_cache, user_cache_dir as user_cache_dir
from .rows import read_rows as read_rows
from .sample import SampleCache as SampleCache, few_shot_examples as few_shot_examples
from .schema import BENCHMARKS as BENCHMARKS, Choice as Choice, Trace as Trace
from .spans import parse_spans as parse_spans
from .store import TraceCache as TraceCache
from .table import arrow_schema as arrow_schema, from_table as from_table, to_table as to_table
from .unknown_logprobs import UnknownTokens as UnknownTokens, unknown_tokens as unknown_tokens
from .worked_examples import WorkedExamples as WorkedExamples, examples_of as examples_of
