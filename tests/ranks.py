"""Two processes as torchrun starts them, forked from this one, which has imported everything."""

import faulthandler
import gc
import multiprocessing
import os
import socket
import sys
import traceback


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run_ranks(function, n_ranks=2, timeout=300):
    """Call ``function(rank)`` in every process, and return what it returned there."""
    context, port = multiprocessing.get_context("fork"), free_port()
    receivers, processes = [], []
    for rank in range(n_ranks):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_rank, args=(function, rank, n_ranks, port, send))
        process.start()
        send.close()  # so that the end of a process is the end of its pipe
        receivers.append(receive)
        processes.append(process)
    try:
        answers = [_answer(*pair, timeout) for pair in zip(receivers, processes, strict=True)]
    finally:
        for process in processes:
            process.join(5)
            process.kill()
    for kind, answer in answers:
        assert kind == "returned", answer
    return [answer for _, answer in answers]


def _answer(receive, process, timeout):
    assert receive.poll(timeout), "a process has not ended"
    try:
        return receive.recv()
    except EOFError:
        process.join(5)
        raise AssertionError(f"a process died with exit code {process.exitcode}") from None


def _rank(function, rank, n_ranks, port, pipe):
    # What this process inherited is not its own to finalise: the threads that some of it would wait
    # for run in the other process only.
    gc.freeze()
    faulthandler.enable()  # into the report of the test, and not where pytest would print it
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
