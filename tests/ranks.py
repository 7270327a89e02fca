"""Two processes as torchrun starts them, forked from this one, which has imported everything."""

import multiprocessing
import os
import socket
import sys
import traceback


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run_ranks(function, n_ranks=2, timeout=60):
    """Call ``function(rank)`` in every process, and return what it returned there."""
    context, port = multiprocessing.get_context("fork"), free_port()
    pipes = [context.Pipe(duplex=False) for _ in range(n_ranks)]
    processes = [
        context.Process(target=_rank, args=(function, rank, n_ranks, port, pipes[rank][1]))
        for rank in range(n_ranks)
    ]
    for process in processes:
        process.start()
    try:
        for receive, _ in pipes:
            assert receive.poll(timeout), "a process has not ended"
        answers = [receive.recv() for receive, _ in pipes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()
    for kind, answer in answers:
        assert kind == "returned", answer
    return [answer for _, answer in answers]


def _rank(function, rank, n_ranks, port, pipe):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(n_ranks),
        LOCAL_WORLD_SIZE=str(n_ranks),
        GROUP_RANK="0",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="test",
    )
    try:
        pipe.send(("returned", function(rank)))
    except BaseException:
        pipe.send(("raised", traceback.format_exc()))
    sys.stdout.flush()
    # Not through the exit of pytest, which this process was forked from.
    os._exit(0)
