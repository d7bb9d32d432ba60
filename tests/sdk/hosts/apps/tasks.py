"""A celery application; run as a program it orders `count` tasks."""

import os
import sys
import time

from celery import Celery
from counting import use

app = Celery("tasks", broker=os.environ["HOST_BROKER"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="tasks.work")
def work(number):
    time.sleep(0.005)  # long enough to be interrupted
    use(number)


if __name__ == "__main__":
    for ordered in range(int(sys.argv[1])):
        work.delay(ordered)
