"""Results of the search benchmark -> Markdown."""

from typing import Any

from benchmarks.tables import signed, table, with_interval

LANGUAGE_NAMES = {
    "en on en": "English",
    "zh on zh": "Chinese",
    "en on zh": "English, texts in Chinese",
    "zh on en": "Chinese, texts in English",
    "en on both": "English, texts in both",
    "zh on both": "Chinese, texts in both",
    "en": "English",
    "zh": "Chinese",
}
SETUP_NAMES = {
    "full": "full",
    "uncaptioned": "half without captions",
    "sparse": "quarter lost, quarter wrong",
}


def ranking_table(results: dict[str, Any]) -> str:
    methods = list(results["ranking"][0]["mrr"])
    text = (
        f"MRR among all {results['adapters']} {results['split']} adapters, one caption of each as "
        "question, which none of its covers shows (they show the two others); 95 % intervals by "
        "bootstrap over adapters. `metadata`: all adapters described in full; half of them "
        "without captions; a quarter stripped of names, tags, trigger words, description and "
        "captions, and another quarter with those of another adapter. `all` is the order by "
        "surety; `as listed` has what literally matches before it.\n\n"
    )
    rows = [
        [
            SETUP_NAMES[row["setup"]],
            LANGUAGE_NAMES[row["languages"]],
            *(with_interval(row["mrr"][name]) for name in methods),
            f"{row['best']}, {signed(row['above_best'])}",
            signed(row["above_reciprocal_ranks"]),
        ]
        for row in results["ranking"]
    ]
    head = ["metadata", "questions", *methods, "all - best signal", "all - reciprocal ranks"]
    return text + table(head, rows)


def abstention_table(results: dict[str, Any]) -> str:
    asked = results["abstention"][0]["questions"]
    text = (
        f"Abstention: half of the adapters are indexed, the other half is taken away, then the "
        f"other way round. {asked['here']} questions a row are about what is here, "
        f"{asked['taken away']} about what was taken away, {asked['far off']} about what no emoji "
        "shows. `answered` is the share that gets results, `precision` the share of answered "
        "questions that have an adapter here, `area` that under the ROC curve of all thresholds, "
        "`right` the share whose first result is it.\n\n"
    )
    rows = [
        [
            SETUP_NAMES[row["setup"]],
            LANGUAGE_NAMES[row["languages"]],
            *(with_interval(row["answered"][kind]) for kind in ("here", "taken away", "far off")),
            *(
                f"{row[name]:.3f}"
                for name in (
                    "precision", "recall", "balanced_accuracy", "area", "recall_at_precision_90",
                    "right_when_answered", "right_always",
                )
            ),
        ]
        for row in results["abstention"]
    ]  # fmt: skip
    head = [
        "metadata", "questions", "answered: here", "answered: taken away", "answered: far off",
        "precision", "recall", "balanced accuracy", "area", "recall at precision .9",
        "right when answered", "right without abstaining",
    ]  # fmt: skip
    return text + table(head, rows)


def selection_table(results: dict[str, Any]) -> str:
    text = (
        f"Selection for fusing: {results['composed']} prompts that name two or three things, of "
        "which about three in four have an adapter here. The first two methods are told how many "
        "things are named; by parts is not. `exact`: all adapters right and none too many.\n\n"
    )
    rows = [
        [
            SETUP_NAMES[row["setup"]],
            LANGUAGE_NAMES[row["language"]],
            row["method"],
            *(with_interval(row[name]) for name in ("precision", "recall", "f1", "exact")),
        ]
        for row in results["selection"]
    ]
    head = ["metadata", "prompts", "method", "precision", "recall", "F1", "exact"]
    return text + table(head, rows)


def lists_table(results: dict[str, Any]) -> str:
    rows = results["lists"]
    counts = rows[0]["questions"]
    text = (
        f"Lists: what people ask, in indexes of every kind ({results['listed']} "
        f"{results['split']} adapters, or 50 of them). In the first row "
        f"{counts['caption']} questions have one right answer (MRR; beside it the order that "
        f"choosing for an image goes by), {counts['kind']} several (nDCG and recall of the first "
        "ten), and others are a word of a name, a tag, an author, a trigger word or a part of a "
        "path: `literal` is the share of who has it on the first page, of as many as it holds. "
        "`error` is the expected calibration error of all results on first pages. Then the share "
        f"of questions whose first result is said to fit: of {counts['taken away']} about what "
        f"was taken away, {counts['far off']} about what no emoji shows, and "
        f"{counts['nonsense']} that mean nothing. At last all results on first pages that are said "
        "to fit, of these and of the questions with one right answer: how probably they are right "
        "by what is said, and how many are.\n\n"
    )
    head = [
        "metadata", "encoder", "questions", "nDCG@10", "recall@10", "MRR", "MRR by surety",
        "literal", "error", "fits: taken away", "far off", "nonsense", "right by what is said",
        "right in truth",
    ]  # fmt: skip
    figures = ("ndcg", "recall", "mrr", "mrr_by_surety", "literal", "error")
    lines = [
        [
            row["metadata"],
            {"real": "yes", "none": "none", "foreign": "another world's"}[row["encoder"]],
            LANGUAGE_NAMES[row["languages"]],
            *("" if row[name] is None else f"{row[name]:.3f}" for name in figures),
            *(f"{row['fits'][kind]:.3f}" for kind in ("taken away", "far off", "nonsense")),
            *("" if row[name] is None else f"{row[name]:.2f}" for name in ("said", "true")),
        ]
        for row in rows
    ]
    picture = "![Right results by the probability shown](../images/search-reliability.png)"
    return f"{text}{table(head, lines)}\n{picture}\n\n"
