/* Loaded before the C library (LD_PRELOAD): calls that write can be made to fail, what was not synced is counted, clocks jump. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long left = -1; /* calls until one fails; negative: none does */
static int failing, fired, dirty_folder, left_dirty;
static char dirty[1024];

void shim_arm(long calls, int error) { left = calls, failing = error, fired = 0; }
int shim_fired(void) { return fired; }
void shim_forget(void) {
    dirty_folder = left_dirty = 0;
    for (int fd = 0; fd < 1024; fd++) dirty[fd] = 0;
}

/* What a power cut would lose: regular files written and not synced, and names taken away or changed in a folder not synced. */
int shim_unsynced(void) {
    int count = dirty_folder + left_dirty;
    for (int fd = 0; fd < 1024; fd++) count += dirty[fd];
    return count;
}

static int is(int fd, mode_t kind) {
    struct stat found;
    return fstat(fd, &found) == 0 && (found.st_mode & S_IFMT) == kind;
}

static int fails(void) {
    if (left < 0 || left-- > 0) return 0;
    fired = 1, errno = failing;
    return 1;
}

static void wrote(int fd) { if (fd >= 0 && fd < 1024 && is(fd, S_IFREG)) dirty[fd] = 1; }

static void synced(int fd) {
    if (is(fd, S_IFDIR)) dirty_folder = 0;
    else if (fd >= 0 && fd < 1024) dirty[fd] = 0;
}

#define WRITER(type, name, parameters, arguments) \
    type name parameters { \
        if (is(fd, S_IFREG) && fails()) return -1; \
        type done = REAL(name) arguments; \
        if (done >= 0) wrote(fd); \
        return done; \
    }
WRITER(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRITER(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRITER(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRITER(int, ftruncate, (int fd, off_t size), (fd, size))
WRITER(int, ftruncate64, (int fd, off64_t size), (fd, size))

#define SYNC(name) \
    int name(int fd) { \
        if (fails()) return -1; \
        int done = REAL(name)(fd); \
        if (done == 0) synced(fd); \
        return done; \
    }
SYNC(fsync)
SYNC(fdatasync)

int close(int fd) {
    if (fd >= 0 && fd < 1024 && dirty[fd]) {
        struct stat found;
        left_dirty += fstat(fd, &found) == 0 && found.st_nlink > 0;
        dirty[fd] = 0;
    }
    return REAL(close)(fd);
}

int unlink(const char *path) {
    if (fails()) return -1;
    int done = REAL(unlink)(path);
    if (done == 0) dirty_folder = 1;
    return done;
}

int rename(const char *from, const char *to) {
    if (fails()) return -1;
    int done = REAL(rename)(from, to);
    if (done == 0) dirty_folder = 1;
    return done;
}

/* The wall clock, an hour or a day off, in another direction at every look; the steady clock stays. */
static time_t shift(void) {
    static unsigned looks;
    static const time_t jumps[] = {3600, -86400, 86400, -3600};
    return getenv("SHIM_CLOCK") ? jumps[__sync_fetch_and_add(&looks, 1) % 4] : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = REAL(clock_gettime)(clock, now);
    if (done == 0 && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int done = REAL(gettimeofday)(now, zone);
    if (done == 0) now->tv_sec += shift();
    return done;
}

time_t time(time_t *at) {
    time_t now = REAL(time)(NULL) + shift();
    if (at) *at = now;
    return now;
}
