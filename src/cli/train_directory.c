/* A run's directory: made, found, locked, and what is written there before training. */
#include "cli/train.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* runs/20260131-235959-lenet-bn, with -2, -3, ... if it is taken; made with mkdir, so two runs
 * never share one. */
int cli_train_default_directory(char *out, size_t size, const char *model)
{
    char stamp[32], error[CLI_ERROR];
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    enum train_status status = files_make_directory("runs", error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    bool taken = true;
    for (int i = 1; taken && i < 1000; i++) {
        if (i == 1) snprintf(out, size, "runs/%s-%s", stamp, model);
        else snprintf(out, size, "runs/%s-%s-%d", stamp, model, i);
        status = files_new_directory(out, &taken, error, sizeof error);
        if (!status) return CLI_OK;
    }
    return cli_fail(cli_code_train(status), "%s", error);
}

static int lock_directory(const char *path, struct files_lock *lock)
{
    char error[CLI_ERROR];
    enum train_status status = files_lock(path, lock, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    if (!lock->held)
        cli_fail(0,
                 "note: the file system of %s has no locks: see to it that no other process trains "
                 "there",
                 path);
    return CLI_OK;
}

/* What a file of the directory is: its length, 0 if there is none. */
static int file_length(const char *directory, const char *name, off_t *length)
{
    char file[PATH_MAX];
    struct stat st;
    *length = 0;
    if ((size_t)snprintf(file, sizeof file, "%s/%s", directory, name) >= sizeof file)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", directory);
    if (!lstat(file, &st)) *length = st.st_size;
    else if (errno != ENOENT)
        return cli_fail(CLI_IO, "%s: cannot look at it: %s", file, strerror(errno));
    return CLI_OK;
}

/* A directory for a new run, locked. A run that was killed before its first checkpoint has trained
 * nothing: its directory may be taken again. */
int cli_train_directory(const char *path, struct files_lock *lock)
{
    char error[CLI_ERROR];
    off_t checkpoint, metrics;
    enum train_status status = files_make_directory(path, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    int code = lock_directory(path, lock);
    if (!code) code = file_length(path, TRAIN_CHECKPOINT, &checkpoint);
    if (!code) code = file_length(path, TRAIN_METRICS, &metrics);
    if (code) return code;
    if (checkpoint)
        return cli_fail(CLI_USAGE,
                        "%s holds a run already (" TRAIN_CHECKPOINT
                        "): use --resume=%s to go on with it, or another "
                        "--out",
                        path, path);
    if (metrics)
        return cli_fail(CLI_USAGE,
                        "%s holds the " TRAIN_METRICS
                        " of a run whose checkpoint is gone: remove it, or use another "
                        "--out",
                        path);
    return CLI_OK;
}

/* The run that --resume means, locked: its directory, or its checkpoint's. A place that is no
 * directory is left to the reader of checkpoints, which says what it is. */
int cli_train_find_run(struct cli_train_options *o, char *directory, struct files_lock *lock)
{
    struct stat st;
    const char *slash = strrchr(o->resume, '/'), *base = slash ? slash + 1 : o->resume;
    if (!stat(o->resume, &st) && S_ISREG(st.st_mode)) {
        if (strcmp(base, TRAIN_CHECKPOINT))
            return cli_fail(CLI_USAGE,
                            "%s: expected a run's directory or its " TRAIN_CHECKPOINT
                            "; weights alone are no run",
                            o->resume);
        size_t length = slash ? (size_t)(slash - o->resume) : 1;
        /* stat() takes no longer one */
        snprintf(directory, PATH_MAX, "%.*s", (int)(length ? length : 1), slash ? o->resume : ".");
        o->resume = directory;
    }
    off_t checkpoint = 0, config = 0;
    if (stat(o->resume, &st) || !S_ISDIR(st.st_mode)) return CLI_OK;
    int code = lock_directory(o->resume, lock);
    if (!code) code = file_length(o->resume, TRAIN_CHECKPOINT, &checkpoint);
    if (!code) code = file_length(o->resume, "config.json", &config);
    if (!code && !checkpoint && config)
        code = cli_fail(CLI_BAD,
                        "%s: the run was stopped before its first checkpoint, nothing was trained: "
                        "start it again with "
                        "--out=%s",
                        o->resume, o->resume);
    return code;
}

int cli_train_write_text(const char *directory, const char *name, const char *text)
{
    char path[PATH_MAX], error[CLI_ERROR];
    /* GCOVR_EXCL_BR_LINE: the checkpoint's fits */
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", directory); /* GCOVR_EXCL_LINE */
    char *line = NULL;
    if (asprintf(&line, "%s\n", text) < 0) return cli_fail(CLI_NOMEM, "%s: out of memory", path);
    enum train_status status = files_write(path, line, strlen(line), error, sizeof error);
    free(line);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

char *cli_train_env_text(const cvy_context *ctx)
{
    cvy_machine m;
    struct utsname os;
    cvy_machine_describe(&m);
    if (uname(&os)) memset(&os, 0, sizeof os); /* GCOVR_EXCL_BR_LINE: it cannot fail */
    json_t *variables = json_object();
    for (char **e = environ; *e; e++) {
        const char *equals = strchr(*e, '=');
        char key[64];
        if (!equals || (strncmp(*e, "OMP_", 4) && strncmp(*e, "GOMP_", 5) &&
                        strncmp(*e, "KMP_", 4) && strncmp(*e, "CVY_", 4)))
            continue;
        snprintf(key, sizeof key, "%.*s", (int)(equals - *e), *e);
        json_t *value = json_string(equals + 1); /* NULL if it is not UTF-8 */
        json_object_set_new(variables, key, value ? value : json_null());
    }
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s*, s:s, s:I, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:o}", "convoy",
        cvy_version(), "compiler", CLI_COMPILER, "system", os.sysname, "release", os.release,
        "machine", os.machine, "threads", (json_int_t)cvy_context_threads(ctx), "isa",
        cvy_isa_name(cvy_context_isa(ctx)), "cpus_online", (json_int_t)m.cpus_online,
        "cpus_allowed", (json_int_t)m.cpus_allowed, "cgroup_quota", m.cgroup_quota, "l1d_bytes",
        (json_int_t)m.l1d_bytes, "l2_bytes", (json_int_t)m.l2_bytes, "l3_bytes",
        (json_int_t)m.l3_bytes, "variables", variables);
    json_object_set_new(json, "cpu", json_string(m.cpu)); /* of NULL, jansson makes NULL */
    json_object_set_new(json, "backends", json_string(cvy_context_backends(ctx)));
    json_object_set_new(json, "started", json_integer((json_int_t)time(NULL)));
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(json);
    return text;
}
