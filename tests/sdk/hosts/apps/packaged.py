"""A program that is shipped to customers: 100 uses by itself and 100 by each of two children, then it reports.

python packaged.py [SECONDS]: so long it stays after its work, before it reports. Prints what flush() said.
"""

import multiprocessing
import sys
import time

from counting import telemetry, use


def work():
    for number in range(100):
        use(number)


def main():
    children = [multiprocessing.Process(target=work) for _ in range(2)]
    for child in children:
        child.start()
    work()
    for child in children:
        child.join()
    print("worked", flush=True)
    time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(telemetry.flush(20))


if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
