/* Files as training needs them: whole files read with a limit, and written so that a reader sees
 * the old content or the new, never a part. Every failure is one sentence with the path and the
 * system's reason. */
#ifndef TRAIN_FILES_H
#define TRAIN_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* TRAIN_BAD: what was read is not what it should be. TRAIN_ENGINE: the library refused. */
enum train_status {
    TRAIN_OK = 0,
    TRAIN_BAD,
    TRAIN_IO,
    TRAIN_NOMEM,
    TRAIN_NUMERIC,
    TRAIN_ENGINE,
    TRAIN_INTERRUPTED
};

/* Writes a sentence and returns status. */
enum train_status train_fail(char *error, size_t error_size, enum train_status status,
                             const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Reads a regular file of at most `limit` bytes into memory that the caller frees. */
enum train_status files_read(const char *path, size_t limit, unsigned char **bytes, size_t *size,
                             char *error, size_t error_size);
/* Writes a temporary file beside `path`, fsyncs it, renames it over `path`, fsyncs the directory. A
 * symbolic link at `path` is replaced, not followed. On failure the old file is untouched and the
 * temporary one removed; temporary files that dead processes left for the same path are removed
 * first. */
enum train_status files_write(const char *path, const void *bytes, size_t size, char *error,
                              size_t error_size);
/* fsync; where the file system has no such thing, that is no error. */
int files_sync(int fd);
/* Creates a directory and its parents; one that exists is fine. */
enum train_status files_make_directory(const char *path, char *error, size_t error_size);
/* Creates one that must not exist: `taken` is whether it failed because of that. */
enum train_status files_new_directory(const char *path, bool *taken, char *error,
                                      size_t error_size);

/* A directory for one process at a time: a lock on a file in it, which ends with the process. A
 * directory that another has, also on another machine, is TRAIN_IO, and the sentence says who.
 * Where the file system has no locks, `held` is false and nothing is wrong. */
#define FILES_LOCK "lock"
struct files_lock {
    int fd; /* -1: none */
    bool held;
    char path[PATH_MAX];
};
enum train_status files_lock(const char *directory, struct files_lock *lock, char *error,
                             size_t error_size);
/* Removes the file and gives the directory back; nothing if there is none. */
void files_unlock(struct files_lock *lock);

#endif
