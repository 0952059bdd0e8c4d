"""The page that Airflow shows for a DAG: what it does, when, and what to do when a task is red."""

from __future__ import annotations

from pipelines.config import FolderSource, S3Source, SourceConfig

SYNC = """\
### {title}

Keeps collection `{collection}` true to source `{name}` ({where}): new and changed documents are parsed, checked, embedded
and published, vanished ones deleted. Every listed object ends as `loaded`, `unchanged`, `quarantined`, `deleted` or
`excluded`; settle is red when one is missing. Running it again changes nothing that is up to date.

#### Schedule

{schedule}. A run that changed the corpus emits an event on `millrace://corpus/{name}`.

#### Params

{params}
#### When a task is red

The last error of its log names the value, the limit and the remedy.

| red task | what it means | what to do |
|---|---|---|
| `plan` | The source could not be listed, or the request is wrong. Nothing was decided, nothing is deleted. | \
Correct what the message names (connection, bucket, param), then clear `plan`. |
| `prepare` | The source or the database failed for longer than the retries. A single bad file never does this: \
it is quarantined. | Check the service, then clear the shard's red task with its downstream tasks. |
| `validate` | A whole batch failed an expectation; none of the shard is published. | \
Open **Data Docs** on the task's *Details* tab; correct the source or the suite in `include/expectations`, \
trigger a new run. |
| `embed` | The model, its device or the vector suite failed, or the task ran out of time. Finished batches are kept. | \
Check the workers of queue `gpu` and pool `gpu`, then clear the task: it goes on where it stopped. |
| `publish` | The database refused or was away. Each document is either old or new, never mixed. | \
Check space and connections, then clear the task. |
| `catch_up` | A space that does not serve could not be kept complete; the sync itself is not affected. | \
The next sync tries again; until then a switch or rollback to that space is refused. |
| `settle` only | Documents are unaccounted for, the audit found a difference, or deletions are held. \
Additions are served. | \
Held: the log names the run; list it with `millrace held {name}`, then trigger with *Approve held deletions of run*, or \
with *Reject held deletions of run* to keep the documents. \
Otherwise trigger a new run: it repairs what differs. |
| `settle` and others | settle is red because of them. | Start with the earliest red task. |

`upstream_failed` on a shard's later tasks follows from its red one; other shards are published all the same. A failed run
leaves what was served before in place. More: `docs/runbook.md`, section *sync*; from a shell `millrace status {name}`.
"""

REEMBED = """\
### Re-embedding

Fills a space of another model, or of other passages, beside the one that serves a collection; verifies it; lets it serve if
*Switch* is set. Searches and syncs go on meanwhile, and every sync keeps the new space complete. Running it again goes on
where it stopped, and does nothing where nothing is missing.

#### Params

- *Collection* and *Model*: what to go over to; without a model, the one configured for the collection.
- *Switch*: let the new space serve once it is verified. `millrace switch` does it by hand, `millrace rollback` goes back.
- *Keep for days*: retire spaces that stopped serving more days ago.
- *Texts*, *Tokens*, *Minutes*, *Cost*: the budget. A run that reaches one of them stops cleanly, green, with `build` \
skipped; trigger it again to go on. Cached vectors cost nothing.

#### When a task is red

The last error of its log names the value, the limit and the remedy. The space that serves is untouched.

| red task | what it means | what to do |
|---|---|---|
| `plan` | The collection has no space yet, or the model cannot be opened. | Correct models.yaml or the form. |
| `rechunk` | A source or the database was away, or a whole batch of new passages failed an expectation. | \
Check the service or chunking.yaml, then clear the task with its downstream tasks. |
| `measure` | The database was away. | Check the service, then clear the task with its downstream tasks. |
| `fill` | The model or its device failed, its canary texts have moved, or time ran out. Finished batches are kept. | \
Check the workers of queue `gpu` and pool `gpu`, then clear the task: it goes on where it stopped. |
| `build` | Documents or texts are still missing: changed, gone, rejected or refused ones are counted in the message. | \
Sync the collection's sources, then trigger a new run. |
| `verify` | The index finds less than 95 % of the true neighbours, or the golden questions are answered worse. | \
`millrace spaces` shows the figures. Keep the model that serves, or correct the new one. |
| `switch` | Something is missing again, or writers held the lock for too long. | \
Clear the task; it refuses rather than mix. |
| `settle` | A stage failed. | Start with the earliest red task. |

More: `docs/runbook.md`, section *reembed*; from a shell `millrace reembed`, `millrace spaces`.
"""

MAINTAIN = """\
### Maintenance

Weekly, beside readers and writers: replaced passages older than the collection keeps (`keep_past_days`) are removed, indexes
whose table changed by more than a fifth since they were built are built anew, every table is vacuumed and analysed, and each
vector index is compared with exact search. Works on what is there now; running it again is harmless.

#### When the task is red

| red task | what it means | what to do |
|---|---|---|
| `maintain` | An index finds less than 95 % of the true neighbours just after a rebuild, this role may not maintain the \
tables, or the database failed. What is served stays served. | The last error of its log names the value, the limit and the \
remedy; then clear the task. |

More: `docs/runbook.md`, section *maintain*; from a shell `millrace maintain`.
"""

EVALUATE = """\
### Evaluation

After syncs that changed the corpus, after space builds, after corpus drift, and weekly: scores what each collection serves
on every slice of its benchmarks, compares question by question with the last evaluation of the same version, judges spaces
that wait to serve, checks answers, and says which share of the corpus the benchmark no longer represents. Changes nothing
that is served. **Report** on the task's *Details* tab opens the page. Running it again measures again.

#### Params

- *Collection*: empty for those that woke the run, or all.

#### When a task is red

The last error of its log names the verdict, the reason and the page.

| red task | what it means | what to do |
|---|---|---|
| `collections` | The run's form names something unknown. | Correct the form. |
| `evaluate` | `worse`: the first measure fell by more than the margin and more than chance. `stale`: too much of the \
corpus is unlike the benchmark. `cannot tell`: a slice lost its documents or its scores. Or a service failed. | \
worse: see what changed (`millrace status`, `millrace spaces`), roll back if it was the model. stale, cannot tell: \
`millrace benchmark build`, `review`, `release`. Otherwise check the service and clear the task. |

A pink (skipped) `evaluate` says that the collection has no benchmark: nothing is known, good or bad. More:
`docs/runbook.md`, section *evaluate*, and `docs/evaluation.md`; from a shell `millrace evaluate`.
"""

PROMOTE = """\
### Promotion

Judges a challenger: not worse on any slice, better where gates.yaml demands it, and within its limits of latency, size and
cost. What passes waits for a person, who finds *Approve* and *Reject* under **Required Actions**, or serves at once where
gates.yaml says `automatic`. Without a verified space of the version, the collection is embedded by it first, in one task;
trigger `reembed` before, to spread that over workers. **Report** on `propose` opens the page.

Searches and syncs go on. Going back is `millrace models rollback COLLECTION`. Announced on `millrace://space/COLLECTION`.

#### Params

- *Collection*.
- *Version*: such as `handbook@3`; empty for the challenger that waits.

#### When a task is red

The last error of its log names the value, the limit and the remedy. What serves is untouched.

| red task | what it means | what to do |
|---|---|---|
| `plan` | No such version, none that waits, or it serves already. | Correct the form; `millrace models list`. |
| `reembed` | The space could not be filled or did not pass verification. | Clear the task: it goes on where it stopped. |
| `propose` | The challenger is refused, or it cannot be told; every reason is in the message and on the page. | \
Keep the champion. cannot tell: release more questions. Or a service failed: clear the task. |
| `approve` | The question could not be asked. | Clear the task. |
| `promote` | The proposal holds no more: another one serves, a newer evaluation differs, or the space lacks texts. | \
Trigger a new run; for missing texts sync the sources and clear the task. |
| `reject` | The database was away, or somebody else decided. | `millrace models proposals` says what stands. |

A pink (skipped) `promote` was rejected, or nobody answered in `approval_hours`: `reject` says which. More:
`docs/runbook.md`, section *promote*, and `docs/models.md`; from a shell `millrace models promote`.
"""

FINETUNE = """\
### Fine-tuning

Weekly, after a drift of the corpus or of its questions, and by hand: mines pairs from what a collection serves, keeps them
apart from whatever evaluates it, fits a query adapter in seconds, and triggers `promote` for what shows a gain. There the
gate judges and a person approves; nothing serves by this DAG alone. It starts paused: unpause it once a collection has a
benchmark that can judge a challenger.

Pink (skipped) means that there is nothing to learn: too few pairs, or no gain. The task's log says which.

#### Params

- *Collection*: empty for those that woke the run, or all.

#### When a task is red

| red task | what it means | what to do |
|---|---|---|
| `collections` | The configuration cannot be read. | Correct the file that its log names. |
| `data` | The database, the object store or the embedder was away. | Clear the task. |
| `fit` | The same, or pairs leak into a benchmark that was released meanwhile. | Clear the run from `data` on. |
| `promote` | The run of `promote` could not be triggered. | Clear the task. |

More: `docs/runbook.md`, section *finetune*, and `docs/training.md`; from a shell `millrace train`.
"""

DRIFT = """\
### Drift

Daily: compares what came into each collection on one day with what was served in the days before, document by document, and
asks the embedder whether it still gives known texts the vectors it gave first. **Report** on the task's *Details* tab opens
the page: what changed, which source and day it comes from, words and examples. Changes nothing that is served. A second run
replaces the day's report. History: `airflow backfill create --dag-id drift --from-date 2026-10-01 --to-date 2026-10-31
--max-active-runs 1`; it announces nothing.

Drift is announced on `millrace://drift/corpus/COLLECTION`, which wakes `evaluate`, or on `millrace://drift/pipeline/COLLECTION`.

#### Params

- *Collection*: empty for all.
- *Day*: the day to look at in a manual run; empty for yesterday.

#### When a task is red

| red task | what it means | what to do |
|---|---|---|
| `collections` | The run's form names something unknown. | Correct the form. |
| `measure` | The look itself failed: a service, or the form's day. | Check the service and clear the task. |
| `judge` | Drift: the passages of the day differ from what was served, by more than chance and more than usual; or the \
embedder has changed. | Open the report of `measure`. A source that changed its form: correct it there. New subjects: \
release a new benchmark version. The embedder: go back to the build that made the vectors, or `millrace reembed`. |

A pink (skipped) `judge` could not tell; its log says why. More: `docs/runbook.md`, section *drift*, and `docs/drift.md`;
from a shell `millrace drift`.
"""

PARAMS = """\
- *Dry run*: log the plan and change nothing.
- *Full rescan*: read and compare every object, whatever its version says.
- *Prefix*: only what starts with it below the source's root; deletions stay inside it too.
- *Approve held deletions of run*: the run whose held deletions may proceed.
- *Reject held deletions of run*: the run whose held documents stay served.
"""
DAY = "- *Day*: which day a manual run syncs; it has no interval of its own.\n"


def sync(name: str, source: SourceConfig) -> str:
    """The Markdown of one source's DAG."""
    return SYNC.format(
        title=source.description or f"Source {name}",
        name=name,
        collection=source.collection,
        where=_where(source),
        schedule=_schedule(source),
        params=PARAMS + (DAY if source.dated else ""),
    )


def _where(source: SourceConfig) -> str:
    if isinstance(source, S3Source):
        return f"`s3://{source.bucket}/{source.prefix}` by connection `{source.connection}`"
    if isinstance(source, FolderSource):
        return f"folder `{source.path}`"
    return f"table `{source.table}` by connection `{source.connection}`"


def _schedule(source: SourceConfig) -> str:
    if source.schedule is None:
        return "None; it runs when triggered"
    if source.dated:
        return (
            f"`{source.schedule}` UTC, each run syncs its own day since {source.start_date}; "
            f"`airflow backfill create` fills the past"
        )
    return f"`{source.schedule}` UTC, the whole listing each time, one run at a time"
