/* Preloaded into a host: fsync takes FSYNC_SECONDS, as on a disk that is overloaded or about to fail. */
#include <stdlib.h>
#include <time.h>

static int nap(void) {
    const char *seconds = getenv("FSYNC_SECONDS");
    struct timespec time = {seconds ? atoi(seconds) : 0, 0};
    nanosleep(&time, 0);
    return 0;
}

int fsync(int descriptor) { (void)descriptor; return nap(); }
int fdatasync(int descriptor) { (void)descriptor; return nap(); }
