"""Bad nights: kill refreshes, servers, workers and PostgreSQL at random, and look what is left.

    python -m benchmarks.chaos --kills 200 --seconds 1800 --seed 1
    python -m benchmarks.chaos --kills 100 --seconds 7200 --victims worker --adapters 1000

Meanwhile the hub misbehaves in a quarter of its answers, two refreshes overlap, people search,
and (as root, who may mount one) the small disk fills up now and then. After every night the
registry must equal one that nothing ever happened to; the exit code says whether it does.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from benchmarks.chaos.counts import VICTIMS, Counts
from benchmarks.chaos.hub import ADAPTERS, GrowingHub, open_hub, questions
from benchmarks.chaos.night import Night, Place
from benchmarks.chaos.searches import Answer, wrong_with
from benchmarks.chaos.small_disk import mounted
from benchmarks.chaos.state import State, differences
from benchmarks.results import RESULTS, write_results

KILLS_A_NIGHT = 40
QUESTIONS = 12
# So many results must be the same where a file is listed several times: which of its listings are
# offered further down depends on the order in which they came.
CERTAIN = 10
# Scores are told with four digits. Which texts are encoded together moves one in 200 numbers of
# their embeddings by its last bit, and now and then the last digit of a score.
SCORE_TOLERANCE = 1.5e-4
# Of an undisturbed refresh, with which a kill waits for the next at most.
SPAN = 0.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1800, help="no kill after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--adapters", type=int, default=ADAPTERS, help="that come to the hub")
    parser.add_argument("--workers", type=int, default=2, help="beside each refresh")
    parser.add_argument("--output", type=Path, default=RESULTS / "chaos.json")
    options = parser.parse_args()
    counts = Counts()
    with open_hub(options.seed, options.adapters) as hub:
        if os.geteuid() != 0:
            print("not root: no small disk can be mounted, so none fills up", file=sys.stderr)
        # Others may pass: run as root, PostgreSQL is another user.
        root = Path(tempfile.mkdtemp(prefix="autolora-chaos-"))
        root.chmod(0o755)
        run(root, hub, counts, options)
        served, answers = hub.whims.served, hub.whims.answers
    results = counts.to_json(served, answers) | {"seed": options.seed}
    write_results(options.output, results, counts.to_markdown(served, answers))
    print(f"What the processes said is in {root}", file=sys.stderr)
    return 1 if counts.differences else 0


def run(root: Path, hub: GrowingHub, counts: Counts, options: argparse.Namespace) -> None:
    began, numbers = time.monotonic(), random.Random(options.seed)
    until = began + options.seconds
    hub.grow()
    with Night(place_at(root, "calm"), hub, counts, numbers, 0.0) as calm:
        span = SPAN * calm.refresh()
        calm.refresh(full=True)
        answers = calm.serve_and_ask(questions(QUESTIONS))
        state = calm.state()
    for number in count(1):
        left = options.kills - sum(counts.kills.values())
        if left <= 0 or time.monotonic() > until:
            return
        name = f"night-{number}"
        place = place_at(root, name)
        with mounted(root / name / "disk") as disk:
            place.disk, place.home = disk, root / name / "disk" / "home"
            with Night(place, hub, counts, numbers, span) as bad:
                bad.victims, bad.workers_wanted = tuple(options.victims), options.workers
                bad.most_new = max(bad.most_new, options.adapters // 20)
                hub.restart()
                bad.storm(min(left, KILLS_A_NIGHT), until, answers, state["files"].keys())
                bad.heal()
                compare(bad, answers, state, counts, name)
        tell(name, began, counts)


def place_at(root: Path, name: str) -> Place:
    logs = root / name / "logs"
    logs.mkdir(parents=True)
    return Place(root / name / "home", logs)


def compare(
    bad: Night, expected: dict[str, Answer], state: State, counts: Counts, name: str
) -> None:
    """Note all in which a night's registry differs from the undisturbed one."""
    most = CERTAIN if len(state["adapters"]) > len(state["files"]) else None
    for question, found in bad.serve_and_ask(list(expected)).items():
        counts.compared["answers"] += 1
        if (wrong := difference_of(found[:most], expected[question][:most])) != "":
            counts.differ(f"{name}: the answer to {question!r} differs: {wrong}")
    counts.problems.update(bad.problems())
    found_state = bad.state()
    for kind, values in found_state.items():
        counts.compared[kind] += len(values)
    for sentence in differences(found_state, state):
        counts.differ(f"{name}: {sentence}")


def difference_of(found: Answer, expected: Answer) -> str:
    if _files(found) != _files(expected):
        return f"{len(found)} results in another order or number than {len(expected)}"
    for result, right in zip(found, expected, strict=True):
        wrong = wrong_with(result, right) or wrong_with(right, result)
        if not wrong and abs(result["score"] - right["score"]) > SCORE_TOLERANCE:
            wrong = f"its score is {result['score']:.4f}, not {right['score']:.4f}"
        if wrong:
            return f"{right['adapter']['name']!r}: {wrong}"
    return ""


def _files(answer: Answer) -> list[str]:
    return [result["adapter"]["file_sha256"] for result in answer]


def tell(name: str, began: float, counts: Counts) -> None:
    kills, wrong = sum(counts.kills.values()), len(counts.differences)
    seconds = time.monotonic() - began
    print(f"{name}: {kills} kills, {wrong} differences, {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
