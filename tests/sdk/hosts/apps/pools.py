"""600 tasks by multiprocessing or concurrent.futures: python pools.py KIND METHOD.

KIND: processes, terminated-processes, pool-closed, pool-terminated, pool-recycled or executor.
METHOD: fork, spawn or forkserver.
"""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from counting import use

TASKS, WORKERS = 600, 3


def work(number):
    time.sleep(0.003)
    use(number)


def share(first):
    for number in range(first, TASKS, WORKERS):
        work(number)


def processes(context):
    children = [context.Process(target=share, args=(first,)) for first in range(WORKERS)]
    for child in children:
        child.start()
    return children


def main(kind, context):
    if kind == "processes":
        for child in processes(context):
            child.join()
    elif kind == "terminated-processes":
        children = processes(context)
        children[0].join()
        for child in children:
            child.terminate()
            child.join()
    elif kind == "executor":
        with ProcessPoolExecutor(WORKERS, mp_context=context) as executor:
            list(executor.map(work, range(TASKS)))
    else:
        with context.Pool(WORKERS, maxtasksperchild=10 if kind == "pool-recycled" else None) as pool:
            pool.map(work, range(TASKS), chunksize=1)
            if kind != "pool-terminated":
                pool.close()
                pool.join()


if __name__ == "__main__":
    main(sys.argv[1], multiprocessing.get_context(sys.argv[2]))
