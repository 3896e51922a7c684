"""model_card.md from the facts of report.json, in the layout of the Hugging Face Hub (Mitchell et al., FAT* 2019).

Nothing is stated that the facts do not hold: what is not known is said to be so, or left for a person to fill in.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from supernet.report import words
from supernet.report.asked import asked_words, command_line
from supernet.report.classes import (
    class_rows,
    majority_words,
    other_class_words,
    overall_words,
    positive_words,
    shot_lines,
)
from supernet.report.corruptions import corruption_words
from supernet.report.facts import Attribute, Metrics, TrainFacts
from supernet.report.groups import worst_rates
from supernet.report.int8 import int8_files, int8_rows, int8_words
from supernet.report.markdown import fence, fenced, table, text


def model_card(facts: TrainFacts) -> str:
    """The card of a train run."""
    sections = (_front_matter, _title, _model, _uses, _data, _evaluation, _int8, _latency, _training, _limits, _use)
    return "\n".join(line for section in sections for line in section(facts)) + "\n"


def _front_matter(facts: TrainFacts) -> Iterable[str]:
    """Strings as JSON, which YAML is a superset of: class and group names come from users' files."""
    metrics, data = facts.metrics, facts.data
    yield from ("---", "library_name: timm", "pipeline_tag: image-classification", "tags:", "- supernet", "- fairness")
    yield from ("model-index:", f"- name: {json.dumps(facts.name)}", "  results:", "  - task:")
    yield from ("      type: image-classification", "    dataset:", f"      name: {json.dumps(data.name)}")
    yield from (f"      type: {json.dumps(data.name)}", "      split: test", "    metrics:", "    - type: accuracy")
    yield from (f"      value: {metrics.accuracy.value or 0.0:.4f}", "---", "")


def _title(facts: TrainFacts) -> Iterable[str]:
    metrics, notion = facts.metrics, facts.asked["fairness"]
    yield from (f"# {text(facts.name)}", "")
    yield f"An image classifier trained by supernet on {text(facts.data.name)}. Test accuracy {words.interval(metrics.accuracy)}."
    yield from (text(told) for told in (majority_words(metrics), overall_words(metrics)) if told)
    for attribute, found in metrics.attributes.items():
        gap, worst = found.gaps[notion], found.groups[found.worst_group].accuracy
        yield (
            f"By {text(attribute)}: lowest accuracy {words.interval(worst)} ({text(found.worst_group)}), "
            f"{words.number_name(notion)} {text(words.estimate_and_verdict(notion, gap) + other_class_words(gap, facts.data, notion))}."
        )
    yield ""


def _model(facts: TrainFacts) -> Iterable[str]:
    arch, data = facts.arch, facts.data
    found = "searched by supernet" if arch.ops is not None else "a timm model, not searched"
    yield from ("## Model details", "")
    yield f"- Architecture: {text(arch.name)}, {found}"
    yield f"- Size: {words.amount(arch.params)} parameters, {words.amount(arch.macs)} multiply-accumulates an image"
    yield f"- Classes: {', '.join(text(name) for name in data.classes)}"
    if positive := positive_words(data):
        yield f"- Positive class: {text(positive)}"
    yield f"- Made on {facts.date[:10]}, commit {facts.commit or 'unknown'}"
    yield from ("- Licence of the model: not stated; to be filled in by whoever releases it", "")


def _uses(facts: TrainFacts) -> Iterable[str]:
    classes = ", ".join(text(name) for name in facts.data.classes)
    yield from ("## Uses", "")
    yield f"To tell these classes apart on images like the test images: {classes}. It was measured on nothing else."
    yield from ("Not for guessing which group an image is of.", "")


def _data(facts: TrainFacts) -> Iterable[str]:
    data = facts.data
    yield from ("## Data", "")
    yield f"{text(data.name)}, fingerprint `{data.fingerprint}`, licence: {data.licence or 'not known to supernet; to be filled in'}."
    for attribute, groups in data.groups.items():
        rows = [
            [text(group), *(f"{data.counts[s][attribute][group]:,}" for s in ("train", "val", "test"))]
            for group in groups
        ]
        yield from ("", *table([text(attribute), "search-train", "search-val", "test"], rows))
    yield from ("", *(f"- {text(note)}" for note in facts.notes), "")


def _evaluation(facts: TrainFacts) -> Iterable[str]:
    metrics, notion, drawn = facts.metrics, facts.asked["fairness"], facts.metrics.bootstrap
    units = "clusters (images that belong together)" if drawn.unit == "cluster" else "images"
    intervals = "without intervals: none were asked for"
    if drawn.resamples:
        intervals = f"in brackets 95% intervals for {drawn.units:,} {units}"
    yield from ("## Evaluation", "", f"On {metrics.samples:,} test images; {intervals}.")
    yield "The figures are those of these weights; another seed trains others."
    accuracy, ece = words.interval(metrics.accuracy), words.interval(metrics.ece)
    yield from ("", f"- Accuracy {accuracy}, calibration error (ECE) {ece}")
    yield from _by_class(metrics)
    if facts.shots:
        yield from ("", *shot_lines(facts.shots))
    for attribute, found in metrics.attributes.items():
        yield from _by_group(attribute, found)
        what, rates, caution = worst_rates(metrics, attribute, notion)
        if what:
            each = ", ".join(f"{text(group)} {words.estimate(rate)}" for group, rate in rates.items())
            told = f"Where the groups differ most in {words.plain(notion)}, {text(what)}: {each}. {caution}".rstrip()
            yield from (told, "")
        yield from table(["notion", "value", "a difference is", "meaning"], list(_gap_rows(found, notion)))
    if facts.corruptions:
        yield from ("", "### Under corruptions", "", *map(text, corruption_words(facts.corruptions, notion)))
    yield from _compared(facts)
    yield ""


def _by_class(metrics: Metrics) -> Iterable[str]:
    rows = [
        [text(row["name"]), f"{row['images']:,} ({row['share']})", row["recall"], row["precision"]]
        for row in class_rows(metrics)
    ]
    if rows:
        lowest = "" if len(rows) == len(metrics.by_class or ()) else ", those of lowest recall"
        yield from ("", f"### By class{lowest}", "", *table(["class", "test images", "recall", "precision"], rows))


def _by_group(attribute: str, found: Attribute) -> Iterable[str]:
    rows = [
        [text(name), f"{group.count:,}", words.interval(group.accuracy), words.interval(group.ece)]
        for name, group in found.groups.items()
    ]
    yield from ("", f"### By {text(attribute)}", "")
    yield from (*table(["group", "images", "accuracy", "calibration error"], rows), "")
    if found.unknown:
        yield f"The group is unknown for {found.unknown:,} test images, which count for the overall figures only."
        yield ""


def _gap_rows(found: Attribute, notion: str) -> Iterable[list[str]]:
    for key, gap in found.gaps.items():
        name = words.label(key) + (" (asked for)" if key == notion else "")
        yield [name, words.estimate(gap), words.verdict(key, gap) or "–", text(words.notion_meaning(key))]


def _compared(facts: TrainFacts) -> Iterable[str]:
    notion = facts.asked["fairness"]
    for attribute, found in (facts.adjusted or {}).items():
        yield from (
            "",
            f"By post-processing alone: these outputs adjusted for each {text(attribute)} (fitted on search-val; needs the group at ",
        )
        yield f"prediction time) have accuracy {words.interval(found.accuracy)} and {words.number_name(notion)} {words.estimate_and_verdict(notion, found.gap)}."
        for warning in found.warnings:
            yield from ("", f"**{text(warning)}**")
    for warning in facts.baseline.warnings if facts.baseline else ():
        yield from ("", f"**{text(warning)}**")


def _int8(facts: TrainFacts) -> Iterable[str]:
    for title, _, int8 in int8_files(facts):
        rows = int8_rows(int8, facts.asked["fairness"])
        yield from (f"## {title}", "", int8_words(int8))
        for warning in int8.warnings:
            yield from ("", f"**{text(warning)}**")
        yield from ("", *table(["on test", "float32", "int8"], [[text(cell) for cell in row] for row in rows]), "")


def _latency(facts: TrainFacts) -> Iterable[str]:
    arch, used = facts.arch, facts.table
    yield from ("## Latency", "")
    if arch.bops is not None and arch.bits == words.EACH_BITS:
        yield from (
            f"{words.bops_words(arch.bops, (arch.limits or {}).get('bops'))}. The files compute in float32.",
            "",
        )
        return
    if arch.predicted_ms is None:
        why = arch.estimated or "no table holds this network's operations."
        yield from (f"Not predicted: {text(why)} Measure it: `supernet verify`.", "")
        return
    error = arch.predicted_error
    spread = "its error is unknown" if error is None else f"± {error:.1%} on whole networks that were measured"
    how = "predicted"
    if arch.estimated:
        how, spread = "estimated", f"± {error:.0%}; {text(arch.estimated)}"
    yield f"{words.milliseconds(arch.predicted_ms)} ms on {text(str(arch.device))}, **{how}, not measured**; {spread}."
    if used:
        yield f"{words.table_words(used)} Source: {text(used.source)} (licence {text(str(used.licence))})."
    yield ""


def _training(facts: TrainFacts) -> Iterable[str]:
    asked = facts.asked
    yield from ("## Training", "")
    for term, told in asked_words("train", asked, facts.arch.budget_ms, facts.arch.limits).items():
        yield f"- {term}: {text(told)}"
    yield from (f"- seed {asked['seed']}; {facts.versions_told}; {text(facts.machine or '')}", "")
    yield from (*fenced("sh", command_line("train", asked, facts.data.images["train"])), "")


def _limits(facts: TrainFacts) -> Iterable[str]:
    metrics, used = facts.metrics, facts.table
    yield from ("## Bias, risks and limits", "")
    yield "- A gap that is not shown is no proof that there is none: look at its interval and at the number of images."
    yield "- Only the groups above were looked at. A group that the data does not name may be served worse."
    for attribute, found in metrics.attributes.items():
        if found.empty_groups:
            yield f"- No image of test is of {', '.join(text(group) for group in found.empty_groups)} ({text(attribute)}): nothing is known of them."
    yield "- One training run, one seed. Images from elsewhere than the test images may be served worse, and some groups more so."
    if facts.arch.predicted_ms is not None and not (used and used.validation and used.provenance != "estimated"):
        yield "- How far predicted latencies of this table are from whole networks on the device is unknown."
    yield ""


def _use(facts: TrainFacts) -> Iterable[str]:
    folder, spec = facts.folder, facts.preprocessing
    path = json.dumps(folder + "/model.json")
    bar = fence(path)
    yield from ("## How to get started", "", f"{bar}python", "import timm", "import supernet", "")
    yield f'model = timm.create_model("supernet_derived", model_json={path}, pretrained=True).eval()'
    if spec and spec["fit"] == "square":
        colour = "L" if spec["channels"] == 1 else "RGB"
        yield from (
            "",
            "from PIL import Image, ImageOps",
            "from timm.data import create_transform, resolve_data_config",
            "",
        )
        yield "transform = create_transform(**resolve_data_config({}, model=model))"
        yield f'picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{colour}")'
        yield "probabilities = model(transform(picture)[None]).softmax(-1)"
    yield from (bar, "", "Or:", "")
    predict = shlex.join(["supernet", "predict", "--model", folder, "--data", "photos/", "--out", "predictions.csv"])
    yield from fenced("sh", predict)
    if spec:
        yield from ("", f"What is done to a picture first: {text(spec['words'])}.")
