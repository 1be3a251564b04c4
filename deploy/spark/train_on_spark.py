#!/usr/bin/env python3
"""Trains on Apache Spark; the same recipe gives the same weights as on one machine.

    spark-submit --master spark://HOST:7077 deploy/spark/train_on_spark.py --recipe paper --workers 2
    python deploy/spark/train_on_spark.py --recipe paper --workers 2        on local[*]

Flags of `train` that are not named here are handed on to it (--epochs 2, --set optimizer.lr=0.01).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

# The package of a checkout, unless one is installed.
sys.path.append(str(Path(__file__).resolve().parents[2] / "python"))

# What makes no sense for one run on a cluster, or is settled by Spark.
_NOT_HERE = ("--sweep", "--seeds", "--describe", "--threads")


def main() -> int:
    arguments, rest = parse()
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError:
        hint = "pip install -r deploy/spark/requirements.txt"
        print(f"error: PySpark is not installed: {hint}", file=sys.stderr)
        return 2
    from bobbin_spark import BobbinError, Columns, Training, train
    from bobbin_spark.hadoop import is_address

    training = Training(
        recipe=arguments.recipe or "fast",
        workers=arguments.workers,
        placement=arguments.placement,
        arguments=rest,
        init=arguments.init,
        out=arguments.out,
        resume=arguments.resume,
        force=arguments.force,
        columns=Columns(
            arguments.image, arguments.label, arguments.id, arguments.shape, arguments.classes, arguments.fit
        ),
    )
    say_how_to_go_on(arguments.resume or arguments.out)
    spark = SparkSession.builder.appName("bobbin").getOrCreate()
    say_how_to_go_on(arguments.resume or arguments.out)  # Spark has put its own in this place.
    try:
        out, outcome = train(spark, training, arguments.data, arguments.validation_data)
    except BobbinError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    finally:
        spark.stop()
    if outcome.attempts > 1:
        print(f"attempts: {outcome.attempts}, the others were lost")
    address = next((path for path in (arguments.resume, arguments.out) if is_address(path)), None)
    print(f"run directory: {address}" if address else f"run directory of the driver: {out}")
    return 0


def say_how_to_go_on(out: str | None) -> None:
    """What Ctrl-C does: Spark ends with this process, and the ranks with Spark. An exception would be
    told at length by each layer below."""

    def interrupted(*_: object) -> None:
        where = out or "and its run directory"
        print(f"error: interrupted; go on with --resume {where}", file=sys.stderr, flush=True)
        os._exit(130)

    signal.signal(signal.SIGINT, interrupted)


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--recipe", metavar="NAME|FILE", help="what to do [default: fast]")
    add(
        "--data",
        metavar="PATH",
        help="a directory of IDX files, or Parquet of images and labels [default: Fashion-MNIST]",
    )
    add("--validation-data", metavar="PATH", help="Parquet of the images to validate on")
    add("--workers", type=int, default=2, metavar="N", help="ranks, each a task [default: 2]")
    add(
        "--placement",
        default="replicated",
        help="replicated: each worker holds the whole set; partitioned: its own part",
    )
    add(
        "--out",
        metavar="DIR",
        help="a new directory that all executors reach, the checkpoints too; or an address (hdfs://…, s3a://…)",
    )
    add("--resume", metavar="DIR", help="go on with the run in this directory, or at this address")
    add("--force", action="store_true", help="replace the run that is in --out")
    add("--init", metavar="FILE", help="weights to start from")
    add("--image", default="image", metavar="NAME", help="column of images [default: image]")
    add("--label", default="label", metavar="NAME", help="column of labels [default: label]")
    add("--id", default="id", metavar="NAME", help="column to order the rows by [default: id]")
    add("--shape", type=shape, metavar="ROWSxCOLUMNSxCHANNELS", help="of images that are not square, or pictures")
    add("--fit", default="pad", help="pictures of other proportions: pad, crop or stretch [default: pad]")
    add("--classes", type=names, default=(), metavar="FILE", help="names of classes, one a line")
    arguments, rest = parser.parse_known_args()
    if arguments.resume is not None and arguments.recipe is not None:
        parser.error("--recipe: not with --resume, which goes on with the recipe of the run")
    for flag in _NOT_HERE:
        if any(text == flag or text.startswith(flag + "=") for text in rest):
            hint = "it is spark.task.cpus" if flag == "--threads" else "run `train` itself"
            parser.error(f"{flag}: not on Spark: {hint}")
    return arguments, rest


def shape(text: str) -> tuple[int, int, int]:
    sizes = [int(size) for size in text.split("x")]
    if len(sizes) == 2:
        sizes.append(1)
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected such as 28x28 or 32x32x3")
    return sizes[0], sizes[1], sizes[2]


def names(file: str) -> tuple[str, ...]:
    try:
        return tuple(Path(file).read_text().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{file}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
