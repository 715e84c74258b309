/* Loaded before the C library (LD_PRELOAD). It can make calls that write fail, counts what was not synced, and makes the
 * wall clock jump. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FILES 1024

static long calls_left = -1; /* calls until one fails; negative: no call fails */
static int error_number, fired, dirty_folder;
static struct stat dirty[FILES]; /* regular files with writes that were not synced, by inode */
static int dirty_files;

void shim_arm(long calls, int error) { calls_left = calls, error_number = error, fired = 0; }
int shim_fired(void) { return fired; }
void shim_forget(void) { dirty_folder = dirty_files = 0; }

/* What a power cut would undo: writes to files that were not synced, and removals and renames in folders that were not. */
int shim_unsynced(void) { return dirty_folder + dirty_files; }

static void clean(const struct stat *file) {
    for (int i = 0; i < dirty_files; i++)
        if (dirty[i].st_ino == file->st_ino && dirty[i].st_dev == file->st_dev) dirty[i--] = dirty[--dirty_files];
}

static int is_regular(int fd) {
    struct stat file;
    return fstat(fd, &file) == 0 && S_ISREG(file.st_mode);
}

static int fails(void) {
    if (calls_left < 0 || calls_left-- > 0) return 0;
    fired = 1, errno = error_number;
    return 1;
}

static void wrote(int fd) {
    struct stat file;
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return;
    clean(&file);
    if (dirty_files < FILES) dirty[dirty_files++] = file;
}

static void synced(int fd) {
    struct stat file;
    if (fstat(fd, &file) != 0) return;
    if (S_ISDIR(file.st_mode)) dirty_folder = 0;
    else clean(&file);
}

#define WRITER(type, name, parameters, arguments) \
    type name parameters { \
        if (is_regular(fd) && fails()) return -1; \
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

/* The content of a file that loses its last name cannot be lost. */
static void forget(const char *path) {
    struct stat file;
    if (lstat(path, &file) == 0 && file.st_nlink == 1) clean(&file);
}

int unlink(const char *path) {
    if (fails()) return -1;
    forget(path);
    int done = REAL(unlink)(path);
    if (done == 0) dirty_folder = 1;
    return done;
}

int rename(const char *from, const char *to) {
    if (fails()) return -1;
    forget(to);
    int done = REAL(rename)(from, to);
    if (done == 0) dirty_folder = 1;
    return done;
}

/* The wall clock is off by an hour or a day, in another direction at every look; the monotonic clock is right. */
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
