"""Reads the logs of a run back through TensorBoard, and says what is wrong with them.

    python3 scripts/interop/tensorboard_check.py RUN_DIRECTORY

Needs the packages tensorboard and pillow. Exits 1 if something is wrong. Of a run that was resumed it also
proves that no step is told twice: the files hold each step of a tag once, in order, whatever TensorBoard
would have dropped by itself.
"""

import io
import json
import math
import socket
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto import event_pb2
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups, metadata

TRAINING = {"Loss", "Throughput", "LearningRate"}
VALIDATION = {"Loss", "Top1Accuracy", "BalancedAccuracy", "MacroF1", "CalibrationError"}
OF_MORE_THAN_FIVE_CLASSES, OF_TWO_CLASSES = {"Top5Accuracy"}, {"AUC"}
EVERYTHING = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}

problems = []


def check(truth, message):
    if not truth:
        problems.append(message)


def raw_events(directory):
    """The events of each file, as they are in it."""
    for path in sorted(directory.glob("events.out.tfevents.*")):
        yield path, [event_pb2.Event.FromString(r) for r in RawEventFileLoader(str(path)).Load()]


def check_files(directory):
    """Versions, starts, and that steps of a tag never go back. Returns the number of files."""
    last = defaultdict(lambda: -1)
    files = 0
    for path, events in raw_events(directory):
        check(events, f"{path}: no event can be read")
        check(events and events[0].file_version == "brain.Event:2", f"{path}: no version first")
        if len(events) < 2:
            # All that is left of a session that was lost.
            continue
        if files:
            starts = [e.step for e in events if e.session_log.status == event_pb2.SessionLog.START]
            first = min((e.step for e in events if e.HasField("summary")), default=None)
            check(len(starts) == 1, f"{path}: {len(starts)} starts")
            check(first is None or starts[0] <= first, f"{path}: starts after its first step")
            check(starts[0] > max(last.values(), default=0), f"{path}: overlaps the file before")
        for event in events:
            for value in event.summary.value:
                check(event.step > last[value.tag], f"{path}: {value.tag} goes back to {event.step}")
                last[value.tag] = event.step
        files += 1
    check(files, f"{directory}: no event file")
    return files


def load(directory):
    accumulator = EventAccumulator(str(directory), size_guidance=EVERYTHING)
    accumulator.Reload()
    return accumulator


def check_scalars(directory, found, expected):
    tags = set(found.Tags()["scalars"])
    check(tags == expected, f"{directory}: scalars {sorted(tags)}, expected {sorted(expected)}")
    steps = {}
    for tag in tags & expected:
        events = found.Scalars(tag)
        steps[tag] = [event.step for event in events]
        check(all(math.isfinite(e.value) for e in events), f"{directory}: {tag} is not finite")
        times = [e.wall_time for e in events]
        check(times == sorted(times), f"{directory}: the clock of {tag} goes back")
    check(len({tuple(s) for s in steps.values()}) <= 1, f"{directory}: tags have other steps")
    return next(iter(steps.values()), [])


def check_histograms(directory, found, sizes):
    tags = set(found.Tags()["histograms"])
    of = {group: {t.removeprefix(group) for t in tags if t.startswith(group)}
          for group in ("parameters/", "gradients/")}
    check(tags and of["parameters/"] == of["gradients/"], f"{directory}: histograms {sorted(tags)}")
    check(sizes is None or of["parameters/"] == set(sizes),
          f"{directory}: parameters {sorted(of['parameters/'])}, expected {sorted(sizes or {})}")
    for tag in tags:
        for event in found.Histograms(tag):
            histogram, at = event.histogram_value, f"{directory}: {tag} at step {event.step}"
            limits = histogram.bucket_limit
            check(sum(histogram.bucket) == histogram.num > 0, f"{at}: buckets do not add up")
            check(list(limits) == sorted(set(limits)), f"{at}: limits are not in order")
            mean_square = histogram.sum_squares / histogram.num
            check((histogram.sum / histogram.num) ** 2 <= mean_square * 1.000001, f"{at}: sums")
            check(histogram.min <= histogram.sum / histogram.num <= histogram.max, f"{at}: mean")
            size = (sizes or {}).get(tag.split("/", 1)[1], histogram.num)
            check(histogram.num == size, f"{at}: {histogram.num} values, expected {size}")
    return len(tags)


def check_images(directory, found):
    check(found.Tags()["images"] == ["Batch"], f"{directory}: images {found.Tags()['images']}")
    for event in found.Images("Batch") if found.Tags()["images"] else []:
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        picture.load()
        check(picture.size == (event.width, event.height), f"{directory}: Batch is {picture.size}")
        channels = [picture] if picture.mode == "L" else picture.split()
        check(any(low < high for low, high in (c.getextrema() for c in channels)),
              f"{directory}: Batch is of one colour")


def trained_sizes(path):
    """Values of each trained parameter of a model file."""
    if not path.exists():
        return None
    data = path.read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    running = ("running_mean", "running_var", "num_batches_tracked")
    return {name: math.prod(tensor["shape"]) for name, tensor in header.items()
            if name != "__metadata__" and not name.endswith(running)}


def check_metrics(run, validation):
    """metrics.jsonl says of each validation what TensorBoard shows."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    told = {line["step"]: line for line in lines if line["event"] == "validation"}
    keys = (("Loss", "validation_loss"), ("Top1Accuracy", "top1"), ("Top5Accuracy", "top5"),
            ("BalancedAccuracy", "balanced_accuracy"), ("MacroF1", "macro_f1"), ("AUC", "auc"),
            ("CalibrationError", "ece"))
    for tag, key in keys:
        if tag not in validation.Tags()["scalars"]:
            check(all(line[key] is None for line in told.values()), f"{path}: {key}, but no {tag}")
            continue
        shown = {event.step: event.value for event in validation.Scalars(tag)}
        check(set(shown) == set(told), f"{path}: validation at other steps than {tag}")
        for step in set(shown) & set(told):
            value = told[step][key]
            check(math.isclose(value, shown[step], rel_tol=1e-6, abs_tol=1e-7),
                  f"{path}: {key} is {value} at step {step}, {tag} {shown[step]}")


def recipe_fields(table, section=""):
    """Every field of a recipe by its path."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from recipe_fields(value, f"{section}{key}.")
        else:
            yield section + key, value


def check_session(run, has_validation):
    """What the plugins HParams and Text are told, by their own reader, as of a directory of runs."""
    multiplexer = EventMultiplexer(size_guidance=EVERYTHING)
    multiplexer.AddRunsFromDirectory(str(run.parent.resolve()))
    multiplexer.Reload()
    context = RequestContext()
    provider = MultiplexerDataProvider(multiplexer, str(run.parent.resolve()))
    backend = backend_context.Context(SimpleNamespace(data_provider=provider, window_title=""))
    name = run.resolve().name
    tags = backend.hparams_metadata(context, "").get(name, {})
    check(metadata.SESSION_START_INFO_TAG in tags, f"{run}: HParams finds {sorted(tags)}")
    if metadata.SESSION_START_INFO_TAG not in tags:
        return
    start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
    shown = {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}
    recipe = dict(recipe_fields(tomllib.loads((run / "recipe.toml").read_text())))
    check(set(shown) == set(recipe), f"{run}: hyperparameters {set(shown) ^ set(recipe)}")
    for key in set(shown) & set(recipe):
        same = shown[key] == recipe[key] or isinstance(recipe[key], (str, list))
        # A run that was made longer began with fewer epochs.
        check(same or key == "stop.epochs", f"{run}: {key} is {shown[key]}, not {recipe[key]}")
    ended = metadata.SESSION_END_INFO_TAG in tags
    check(ended or not (run / "model.safetensors").exists(), f"{run}: HParams sees no end")
    if ended:
        end = metadata.parse_session_end_info_plugin_data(tags[metadata.SESSION_END_INFO_TAG])
        check(end.status in (api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE), f"{run}: {end.status}")
    # The table that the plugin shows: a row for the run, with the last value of each result.
    experiment = backend.experiment_from_metadata(
        context, "", False, backend.hparams_metadata(context, ""), [])
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[0, 1, 2, 3])
    columns = {info.name for info in experiment.hparam_infos}
    check(set(shown) <= columns, f"{run}: no columns for {sorted(set(shown) - columns)}")
    for info in experiment.metric_infos:
        request.col_params.add(metric=info.name)
    groups = list_session_groups.Handler(
        context, backend, "", request).run().session_groups
    rows = [session for group in groups for session in group.sessions if session.name == name]
    check(len(rows) == 1, f"{run}: {len(rows)} rows in HParams")
    for row in rows:
        found = {(value.name.group, value.name.tag) for value in row.metric_values}
        expected = {("train", tag) for tag in TRAINING}
        if has_validation:
            expected |= {("validation", tag) for tag in VALIDATION}
        check(expected <= found and (has_validation or all(group == "train" for group, _ in found)), f"{run}: results {sorted(found)}, expected {sorted(expected)}")
    text = [event.tensor_proto.string_val[0].decode() for event in multiplexer.Tensors(name, "Recipe")]
    check(len(text) == 1 and all(line.startswith("    ") for line in text[0].splitlines())
          and "[optimizer]" in text[0], f"{run}: the recipe as text is {text}")
    host, files = socket.gethostname(), list(run.rglob("events.out.tfevents.*"))
    check(not any(path.name.endswith(f".{host}") for path in files), f"{run}: {host} names a file")
    for private in (str(Path.home()), host):
        # Two letters or three are anywhere by chance.
        found = any(private.encode() in path.read_bytes() for path in files if len(private) > 4)
        check(not found, f"{run}: {private} is in an event file")


def main(run):
    train, validation = run / "train", run / "validation"
    files = check_files(train)
    found = load(train)
    steps = check_scalars(train, found, TRAINING)
    check(steps == list(range(1, len(steps) + 1)), f"{train}: not every step from 1 on")
    if TRAINING <= set(found.Tags()["scalars"]):
        check(all(e.value > 0 for e in found.Scalars("Throughput")), f"{train}: Throughput")
        check(all(e.value >= 0 for e in found.Scalars("LearningRate")), f"{train}: LearningRate")
    histograms = check_histograms(train, found, trained_sizes(run / "model.safetensors"))
    check_images(train, found)
    message = f"{len(steps)} steps in {files} files, {histograms} histograms"
    if any(validation.glob("events.*")):
        check_files(validation)
        found = load(validation)
        tags = set(found.Tags()["scalars"])
        steps = check_scalars(validation, found, VALIDATION | ((OF_MORE_THAN_FIVE_CLASSES | OF_TWO_CLASSES) & tags))
        if VALIDATION <= tags:
            check(all(0 <= e.value <= 1 for e in found.Scalars("Top1Accuracy")), f"{validation}: top-1")
            if OF_MORE_THAN_FIVE_CLASSES <= tags:
                top = {k: [e.value for e in found.Scalars(f"Top{k}Accuracy")] for k in (1, 5)}
                check(all(0 <= a <= b <= 1 for a, b in zip(top[1], top[5])), f"{validation}: accuracy")
            check_metrics(run, found)
        message += f", {len(steps)} validations"
    check_session(run, any(validation.glob("events.*")))
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{run}: {len(problems)} problems")
    print(f"{run}: {message}: as TensorBoard reads them, all is well")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
