"""The TOML file in short, for the help of each verb; `examples/study.toml` is the long form.

A line that is commented out shows a key's default.
"""

from __future__ import annotations

TABLES = {
    "events": """\
[events]                         # the event log: its files, and features.EventLog's columns
path = "events/*.parquet"        # Parquet, CSV or NDJSON; a path, a pattern or a list
timestamp = "ts"
user = "user_id"                 # user, item, query, session, event: name those that there are
item = "item_id"
query = "query"
session = "session_id"
event = "event"
values = ["price"]               # numeric columns to sum
#duplicates = "keep"             # "drop": of rows equal in every column the first counts""",
    "examples": """\
[examples]                       # the rows; keys and timestamp are named as in the log
train = "train.parquet"
label = "bought"
valid = "valid.parquet"          # optional: stops the boosting early
test = "test.parquet"            # optional: metrics and report
id = ["request_id"]              # optional: columns that say which row is which
weight = "weight"                # optional: sample weights
groups = "user_id"               # optional: rows of one group stay in one fold""",
    "behavior": """\
[behavior]                       # features.BehaviorFeatures; optional, as of each example
keys = ["user", "item", "query", ["user", "item"]]
windows = ["1d", "7d", "30d", "all"]
events = ["impression", "click", "purchase"]
rates = { ctr = ["click", "impression"] }
prior_strength = 20.0            # trials that the prior of a rate is worth; default: estimated
distinct = ["item"]
#recency = true
#gap = true
lag = "5m"                       # how late events may become known; default: none
families = [{ family = "similar", part = "query" }]  # more: docs/behaviour-features.md""",
    "label_statistics": """\
[label_statistics]               # features.LabelStatistics; optional: means of other rows' labels, by key
keys = ["item_id", ["user_id", "category"]]
#folds = "time"                  # or "group": out of fold by groups, without timestamp and horizon
timestamp = "ts"
horizon = "7d"                   # how long after it a label is known; "0s" for at once
groups = false                   # for folds = "group": "shop_id"
#n_folds = 5                     # for folds = "group"
strength = 20.0                  # labels that the mean of all is worth; default: estimated""",
    "encoder": """\
[encoder]                        # hybrid.TextEncoder; optional
#model = "all-MiniLM-L6-v2"      # a name on the Hugging Face hub, or a folder
#backend = "torch"               # or "onnx", "onnx-int8", "openvino", "static"
prompts = { query = "query: " }  # by role; "*" for every other
dim = 256                        # Matryoshka encoders
#batch_size = 64
#store = "default"               # or a folder, or { folder = "...", max_bytes = 1_000_000_000 }, or false
#trust_remote_code = false       # true runs code that the model brings""",
    "finetune": """\
[finetune]                       # hybrid.finetune, of the model of [encoder]
pairs = "clicks/*.parquet"       # a row for each item that was clicked, or shown with a label
folder = "encoders/shop"         # where the encoder goes; name it as [encoder] model then
#anchor = "query"
positive = ["title", "brand"]    # a column, or columns to join; default: "title"
label = "clicked"                # default: each row is a positive
#loss = "ranking"                # "grades": from the order of labels in several grades
#min_label = 1.0                 # rows of at least this label are positives
time = "ts"                      # the latest queries are held out; default: drawn at random
#negatives = 1                   # hard negatives beside each positive
#holdout = 0.1                   # of the queries
#roles = ["query", "item"]
#epochs = 1
#batch_size = 64
mini_batch_size = 16             # default: the whole batch in one pass
#learning_rate = 5e-5
#max_tokens = 64
freeze = 3                       # default: all layers are trained
lora = 16                        # default: the weights themselves are trained
#matryoshka = []
#evaluations = 4                 # in each epoch
#patience = 4
#device = "auto"                 # "cpu", "cuda"
#random_state = 0""",
    "model": """\
[model]                          # hybrid.HybridClassifier
text = { query = "query", item = ["title", "description"] }
categorical = ["category"]
numeric = ["price"]
#booster = "xgboost"             # or "lightgbm"
#device = "auto"                 # "cpu", "cuda"
#head = "auto"                   # how the text head enters: "margin", "feature", or false
text_channels = { coordinates = 32, head = { words = 256 }, match = true, recent_interest = 0 }
feature_weights = { "query text" = 0.2 }   # in column sampling, by group; XGBoost
#without = []                    # groups to leave out, such as ["item text"]
#n_estimators = 1000
#learning_rate = 0.05
#max_depth = 6
#min_child_weight = 1.0
#subsample = 1.0
#colsample = 1.0
#reg_lambda = 1.0
#reg_alpha = 0.0
#max_bin = 256
#early_stopping_rounds = 50      # false: always n_estimators rounds
#eval_metric = "log_loss"        # "roc_auc", "average_precision", "accuracy"
class_weight = "balanced"        # or { yes = 3, no = 1 }
calibration = "temperature"      # of probabilities, on [examples] valid or rows held out; default: none
booster_params = { gamma = 0.5 } # the library's own
#random_state = 0
n_jobs = 4                       # default: all cores""",
    "tune": """\
[tune]                           # tuning.tune
#cv = "time"                     # "group", "group_time" (new groups of a later time), "stratified"
#folds = 3
#metric = "log_loss"
#n_trials = 100                  # more trials of the study at each run
timeout = "2h"                   # default: none
#pruner = "auto"                 # false: no trial is given up
storage = "sqlite:///study.db"   # kept, so that the study goes on; default: in memory
#study_name = "intentree"
#n_workers = 1                   # trials at a time, each in a process of its own
isolate = true                   # such a process for one worker too; default: on a GPU
memory = "4GB"                   # for binned matrices; default: by their size and the machine's
time = "ts"                      # column for folds in time; default: the log's timestamp
gap = "7d"                       # rows so shortly before the validation rows are not trained on; default: none
train_span = "60d"               # folds slide: training rows reach back so far; default: to the first
#holdout = 0.0                   # share of the examples that no trial sees
constraints = { predict_ms_per_1k = 50, artifact_mb = 200 }  # of the best trial; default: none
#random_state = 0
space = { max_depth = { low = 3, high = 8 }, booster = ["xgboost"], subsample = 0.8, "use item text" = true }""",
    "score": """\
[score]                          # hybrid.score_parquet
inputs = "candidates/*.parquet"
output = "scores/"
id_columns = ["request_id"]      # carried into the output
events = "recent/*.parquet"      # in place of the artifact's log
#batch_rows = 65_536""",
    "report": """\
[report]                         # HybridClassifier.report
groups_of_rows = "user_id"       # what intervals count as one; default: the log's user
events = "recent/*.parquet"      # in place of the artifact's log
slices = ["category"]            # columns by whose values the metrics are shown, too
query = "search_id"              # rows of one query are ranked at once: nDCG@10, MRR
show_texts = ["title"]           # columns that may be shown with the worst misses
costs = { false_negative = 5 }   # of a mistake, for thresholds; default: 1 each
#max_rows = 50_000
#ablation_folds = 3           # of the refits without each group; 0 leaves them out
#title = "Which evidence mattered\"""",
    "output": """\
[output]
#artifact = "artifact"
#report = "report.html"
#study_report = "study.html"
#lang = "en"                     # of both pages: en, zh, or both
#features = "features.parquet\"""",
}
"""Each table as one may write it."""


def outline(*tables: str) -> str:
    """Help text that shows tables of the TOML file, as they are (``\\b`` keeps Typer from filling the lines)."""
    lead = (
        "# The TOML file. Paths are relative to it; a line that begins with # shows a default; false stands for None."
    )
    return "\n\n".join(f"\b\n{text}" for text in (lead, *(TABLES[table] for table in tables)))
