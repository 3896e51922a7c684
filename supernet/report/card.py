"""model_card.md from the facts of report.json, in the layout of the Hugging Face Hub (Mitchell et al., FAT* 2019).

Nothing is stated that the facts do not hold: what is not known is said to be so, or left for a person to fill in.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from supernet.report import words
from supernet.report.classes import class_rows, majority_words, other_class_words, overall_words, positive_words
from supernet.report.groups import worst_rates
from supernet.report.int8 import int8_rows, int8_words
from supernet.report.older import as_today
from supernet.schema import printable

Content = Mapping[str, Any]


def model_card(content: Content) -> str:
    """The card of a train run."""
    content = as_today(content)
    sections = (_front_matter, _title, _model, _uses, _data, _evaluation, _int8, _latency, _training, _limits, _use)
    return "\n".join(line for section in sections for line in section(content)) + "\n"


def _front_matter(content: Content) -> Iterable[str]:
    """Strings as JSON, which YAML is a superset of: class and group names come from users' files."""
    metrics, data = content["metrics"], content["data"]
    yield from ("---", "library_name: timm", "pipeline_tag: image-classification", "tags:", "- supernet", "- fairness")
    yield from ("model-index:", f"- name: {json.dumps(content['name'])}", "  results:", "  - task:")
    yield from ("      type: image-classification", "    dataset:", f"      name: {json.dumps(data['name'])}")
    yield from (f"      type: {json.dumps(data['name'])}", "      split: test", "    metrics:", "    - type: accuracy")
    yield from (f"      value: {metrics['accuracy']['value']:.4f}", "---", "")


def _title(content: Content) -> Iterable[str]:
    metrics, notion = content["metrics"], content["asked"]["fairness"]
    yield from (f"# {_text(content['name'])}", "")
    yield f"An image classifier trained by supernet on {_text(content['data']['name'])}. Test accuracy {words.interval(metrics['accuracy'])}."
    yield from (_text(told) for told in (majority_words(metrics), overall_words(metrics)) if told)
    for attribute, found in metrics["attributes"].items():
        gap, worst = found["gaps"][notion], found["groups"][found["worst_group"]]["accuracy"]
        yield (
            f"By {_text(attribute)}: lowest accuracy {words.interval(worst)} ({_text(found['worst_group'])}), "
            f"{words.number_name(notion)} {words.estimate_and_verdict(notion, gap)}"
            f"{_text(other_class_words(gap, content['data'], notion))}."
        )
    yield ""


def _model(content: Content) -> Iterable[str]:
    arch, data = content["arch"], content["data"]
    found = "searched by supernet" if arch["ops"] is not None else "a timm model, not searched"
    yield from ("## Model details", "")
    yield f"- Architecture: {_text(arch['name'])}, {found}"
    yield f"- Size: {words.amount(arch['params'])} parameters, {words.amount(arch['macs'])} multiply-accumulates an image"
    yield f"- Classes: {', '.join(_text(name) for name in data['classes'])}"
    if positive := positive_words(data):
        yield f"- Positive class: {_text(positive)}"
    yield f"- Made on {content['date'][:10]}, commit {content.get('commit') or 'unknown'}"
    yield from ("- Licence of the model: not stated; to be filled in by whoever releases it", "")


def _uses(content: Content) -> Iterable[str]:
    classes = ", ".join(_text(name) for name in content["data"]["classes"])
    yield from ("## Uses", "")
    yield f"To tell these classes apart on images like the test images: {classes}. It was measured on nothing else."
    yield from ("Not for guessing which group an image is of.", "")


def _data(content: Content) -> Iterable[str]:
    data = content["data"]
    yield from ("## Data", "")
    yield f"{_text(data['name'])}, fingerprint `{data['fingerprint']}`, licence: {data.get('licence') or 'not known to supernet; to be filled in'}."
    for attribute, groups in data["groups"].items():
        rows = [
            [_text(group), *(f"{data['counts'][s][attribute][group]:,}" for s in ("train", "val", "test"))]
            for group in groups
        ]
        yield from ("", *_table([_text(attribute), "search-train", "search-val", "test"], rows))
    yield from ("", *(f"- {_text(note)}" for note in content["notes"]), "")


def _evaluation(content: Content) -> Iterable[str]:
    metrics, notion = content["metrics"], content["asked"]["fairness"]
    drawn = metrics["bootstrap"]
    units = "clusters (images that belong together)" if drawn["unit"] == "cluster" else "images"
    intervals = "without intervals: none were asked for"
    if drawn["resamples"]:
        intervals = f"in brackets 95% intervals for {drawn['units']:,} {units}"
    yield from ("## Evaluation", "", f"On {metrics['samples']:,} test images; {intervals}.")
    yield "The figures are those of these weights; another seed trains others."
    yield from (
        "",
        f"- Accuracy {words.interval(metrics['accuracy'])}, calibration error (ECE) {words.interval(metrics['ece'])}",
    )
    classes = [
        [_text(row["name"]), f"{row['images']:,} ({row['share']})", row["recall"], row["precision"]]
        for row in class_rows(metrics)
    ]
    if classes:
        lowest = "" if len(classes) == len(metrics["by_class"]) else ", those of lowest recall"
        yield from ("", f"### By class{lowest}", "", *_table(["class", "test images", "recall", "precision"], classes))
    for attribute, found in metrics["attributes"].items():
        rows = [
            [_text(group), f"{row['count']:,}", words.interval(row["accuracy"]), words.interval(row["ece"])]
            for group, row in found["groups"].items()
        ]
        yield from (
            "",
            f"### By {_text(attribute)}",
            "",
            *_table(["group", "images", "accuracy", "calibration error"], rows),
            "",
        )
        if found["unknown"]:
            yield f"The group is unknown for {found['unknown']:,} test images, which count for the overall figures only."
            yield ""
        gaps = [
            [
                words.label(key) + (" (asked for)" if key == notion else ""),
                words.estimate(gap),
                words.verdict(key, gap) or "–",
                _text(words.notion_meaning(key)),
            ]
            for key, gap in found["gaps"].items()
        ]
        what, rates, caution = worst_rates(metrics, attribute, notion)
        if what:
            each = ", ".join(f"{_text(group)} {words.estimate(rate)}" for group, rate in rates.items())
            yield from (
                f"Where the groups differ most in {words.plain(notion)}, {_text(what)}: {each}. {caution}".rstrip(),
                "",
            )
        yield from _table(["notion", "value", "a difference is", "meaning"], gaps)
    for attribute, found in (content.get("adjusted") or {}).items():
        yield from (
            "",
            f"By post-processing alone: these outputs adjusted for each {_text(attribute)} (fitted on search-val; needs the group at ",
        )
        yield f"prediction time) have accuracy {words.interval(found['accuracy'])} and {words.number_name(notion)} {words.estimate_and_verdict(notion, found['gap'])}."
        for warning in found["warnings"]:
            yield from ("", f"**{_text(warning)}**")
    for warning in (content.get("baseline") or {}).get("warnings", ()):
        yield from ("", f"**{_text(warning)}**")
    yield ""


def _int8(content: Content) -> Iterable[str]:
    int8 = content.get("int8")
    if not int8:
        return
    rows = int8_rows(int8, words.number_name(content["asked"]["fairness"]))
    yield from ("## The int8 file", "", int8_words(int8))
    for warning in int8["warnings"]:
        yield from ("", f"**{_text(warning)}**")
    yield from ("", *_table(["on test", "float32", "int8"], [[_text(cell) for cell in row] for row in rows]), "")


def _latency(content: Content) -> Iterable[str]:
    arch, table = content["arch"], content.get("table")
    yield from ("## Latency", "")
    if arch["predicted_ms"] is None:
        why = arch.get("estimated") or "no table holds this network's operations."
        yield from (f"Not predicted: {_text(why)} Measure it: `supernet verify`.", "")
        return
    error = arch["predicted_error"]
    spread = "its error is unknown" if error is None else f"± {error:.1%} on whole networks that were measured"
    how = "predicted"
    if arch.get("estimated"):
        how, spread = "estimated", f"± {error:.0%}; {_text(arch['estimated'])}"
    yield f"{arch['predicted_ms']:.2f} ms on {_text(str(arch['device']))}, **{how}, not measured**; {spread}."
    if table:
        yield f"{words.table_words(table)} Source: {_text(table['source'])} (licence {_text(str(table['licence']))})."
    yield ""


def _training(content: Content) -> Iterable[str]:
    asked = content["asked"]
    yield from ("## Training", "")
    for term, told in words.asked_words("train", asked, content["arch"]["budget_ms"]).items():
        yield f"- {term}: {_text(told)}"
    versions = ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items())
    yield from (f"- seed {asked['seed']}; {versions}; {_text(str(content.get('machine') or ''))}", "")
    yield from (*_fenced("sh", words.command_line("train", asked, content["data"]["images"]["train"])), "")


def _limits(content: Content) -> Iterable[str]:
    metrics, table = content["metrics"], content.get("table")
    yield from ("## Bias, risks and limits", "")
    yield "- A gap that is not shown is no proof that there is none: look at its interval and at the number of images."
    yield "- Only the groups above were looked at. A group that the data does not name may be served worse."
    for attribute, found in metrics["attributes"].items():
        if found["empty_groups"]:
            yield f"- No image of test is of {', '.join(_text(group) for group in found['empty_groups'])} ({_text(attribute)}): nothing is known of them."
    yield "- One training run, one seed. Images from elsewhere than the test images may be served worse, and some groups more so."
    if content["arch"]["predicted_ms"] is not None and not (table and table.get("validation")):
        yield "- How far predicted latencies of this table are from whole networks on the device is unknown."
    yield ""


def _use(content: Content) -> Iterable[str]:
    folder, spec = words.run_folder(content), content.get("preprocessing")
    path = json.dumps(folder + "/model.json")
    yield from ("## How to get started", "", f"{(fence := _fence(path))}python", "import timm", "import supernet", "")
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
    yield from (fence, "", "Or:", "")
    predict = shlex.join(["supernet", "predict", "--model", folder, "--data", "photos/", "--out", "predictions.csv"])
    yield from _fenced("sh", predict)
    if spec:
        yield from ("", f"What is done to a picture first: {_text(spec['words'])}.")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _fenced(language: str, code: str) -> Iterable[str]:
    """A code block of one line, whatever stands in it."""
    fence, line = _fence(code), " ".join(printable(code).split("\n"))
    yield from (f"{fence}{language}", line, fence)


def _fence(code: str) -> str:
    """Longer than any run of backticks in the code: it ends where it should (CommonMark 4.5)."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))


def _text(value: str) -> str:
    """A user's name inside Markdown: on one line, and neither a table cell, a tag, a link nor emphasis of its own."""
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", " ".join(str(value).split()))
