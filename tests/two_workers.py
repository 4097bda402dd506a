"""Two workers as processes on this machine, for the tests that need them."""

import json
import multiprocessing
import os
import socket
from concurrent.futures import ProcessPoolExecutor

from train.workers import make_workers


def cluster():
    """TF_CONFIG of two workers at free ports."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("localhost", 0))
        workers = [f"localhost:{each.getsockname()[1]}" for each in (one, other)]
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": number}}) for number in (0, 1)
    ]


def as_worker(tf_config, function, *arguments, **options):
    """Runs a function of workers as one of them."""
    os.environ["TF_CONFIG"] = tf_config
    return function(make_workers(), *arguments, **options)


def on_two(function, *arguments, **options):
    """What a function of workers gives on each of two."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as one, ProcessPoolExecutor(1, mp_context=context) as other:
        pairs = zip((one, other), cluster(), strict=True)
        futures = [pool.submit(as_worker, config, function, *arguments, **options) for pool, config in pairs]
        return [future.result() for future in futures]
