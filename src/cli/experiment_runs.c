/* The runs of an experiment: `convoy train` as child processes, so many at a time, each in a
 * directory of its own with
 *     run.json   what it is: seed, data, model; when it is over, how it ended
 *     log.txt    what it said
 * beside the files of every run. Whoever is killed is gone on with: a run that has a checkpoint is
 * resumed, one that is over is left alone. */
#include "cli/experiment.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/screen.h"
#include "cli/train.h"
#include "train/train.h"

#define RUN_FILE "run.json"
#define RUN_LOG "log.txt"
#define RUN_FILE_LIMIT ((size_t)16 << 20)

struct runner {
    struct experiment_plan *p;
    void (*changed)(struct experiment_plan *p);
    size_t jobs, threads; /* at a time; of each */
    size_t trains, over;
    struct cli_screen screen;
    double start;
    bool stopping;
    int code;
};

static struct experiment_run *run_at(const struct experiment_plan *p, size_t i)
{
    return &p->row[i / p->seeds].run[i % p->seeds];
}

/* ------------------------------------------------------------------------------------- run.json */

static int path_of(const struct experiment_plan *p, const struct experiment_run *run,
                   const char *name, char out[PATH_MAX])
{
    if (snprintf(out, PATH_MAX, "%s/%s%s%s", p->directory, run->name, *name ? "/" : "", name) >=
        PATH_MAX)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", p->directory);
    return CLI_OK;
}

static json_t *describe(const struct experiment_plan *p, const struct experiment_row *row,
                        const struct experiment_run *run)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)run->seed);
    return json_pack("{s:s, s:s?, s:s*, s:O}", "seed", seed, "data", p->o->data, "probe",
                     *row->probe ? row->probe : NULL, "model", row->model);
}

static int write_run(const struct experiment_plan *p, const struct experiment_row *row,
                     const struct experiment_run *run)
{
    char path[PATH_MAX];
    int code = path_of(p, run, "", path);
    if (code) return code;
    json_t *json = describe(p, row, run);
    if (run->state == RUN_DONE) json_object_set_new(json, "exit", json_integer(run->code));
    char *text = model_dump(json);
    json_decref(json);
    code = text ? cli_train_write_text(path, RUN_FILE, text) : CLI_NOMEM;
    free(text);
    return code;
}

/* What is there already of a run: it must be the same one. */
static int look(const struct experiment_plan *p, const struct experiment_row *row,
                struct experiment_run *run)
{
    static const char *const keys[] = { "seed", "data", "probe", "model" };
    char path[PATH_MAX], error[CLI_ERROR];
    unsigned char *bytes;
    size_t size;
    struct stat st;
    int code = path_of(p, run, RUN_FILE, path);
    if (code || stat(path, &st)) return code; /* files_read would say why */
    enum train_status status = files_read(path, RUN_FILE_LIMIT, &bytes, &size, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    json_t *found = json_loadb((char *)bytes, size, JSON_REJECT_DUPLICATES, NULL),
           *wanted = describe(p, row, run);
    free(bytes);
    for (size_t k = 0; k < 4 && !code; k++) {
        const json_t *is = json_object_get(found, keys[k]), *be = json_object_get(wanted, keys[k]);
        if ((is || be) && !json_equal(is, be))
            code = cli_fail(CLI_USAGE,
                            "%s: it is a run with other settings (its %s): the same command goes "
                            "on with an experiment, for another one use another --out",
                            path, keys[k]);
    }
    const json_t *end = json_object_get(found, "exit");
    run->code = (int)json_integer_value(end);
    /* what failed otherwise may go well now: a disk that was full, data that were not there */
    const bool over = json_is_integer(end) && (run->code == CLI_OK || run->code == CLI_NUMERIC);
    if (!code && over) run->state = RUN_DONE;
    json_decref(found);
    json_decref(wanted);
    if (!code && !path_of(p, run, TRAIN_CHECKPOINT, path)) run->resumed = !stat(path, &st);
    if (!code) experiment_read(p, row, run);
    run->done_first = run->done;
    return code;
}

/* ------------------------------------------------------------------------------------- children */

/* Becomes `convoy train`; never returns. Signals reach the group of the parent alone, which passes
 * them on once: a second one would end a run without a checkpoint. */
static void __attribute__((noreturn)) become(char *const *argv, const char *log, pid_t parent)
{
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666), in = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(128 + SIGTERM); /* it died before that was asked for */
    if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(CLI_IO);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    execv("/proc/self/exe", argv);
    fprintf(stderr, "convoy: /proc/self/exe: cannot run: %s\n", strerror(errno));
    _exit(CLI_IO);
}

struct words {
    char *word[24];
    size_t n;
};
static void __attribute__((format(printf, 2, 3))) add_word(struct words *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (vasprintf(&w->word[w->n++], format, args) < 0) exit(cli_fail(CLI_NOMEM, "out of memory"));
    va_end(args);
}

static void command_line(const struct runner *r, const struct experiment_row *row,
                         const struct experiment_run *run, const char *directory, struct words *w)
{
    const struct experiment_options *o = r->p->o;
    const cvy_context_options *engine = &o->engine;
    add_word(w, "convoy");
    add_word(w, "train");
    add_word(w, "--quiet");
    add_word(w, "--threads=%zu", r->threads);
    if (engine->isa) add_word(w, "--isa=%s", cvy_isa_name(engine->isa));
    if (engine->backends) add_word(w, "--backend=%s", engine->backends);
    if (engine->no_fusion) add_word(w, "--no-fusion");
    if (engine->algorithm) add_word(w, "--algorithm=%s", cvy_algorithm_name(engine->algorithm));
    if (run->resumed) {
        add_word(w, "--resume=%s", directory);
        return;
    }
    add_word(w, "--seed=%llu", (unsigned long long)run->seed);
    add_word(w, "--out=%s", directory);
    if (o->data) add_word(w, "--data=%s", o->data);
    if (*row->probe) add_word(w, "--probe=%s", row->probe);
    add_word(w, "--");
    add_word(w, "%s/model.json", directory);
}

static int begin(struct runner *r, const struct experiment_row *row, struct experiment_run *run)
{
    char directory[PATH_MAX], log[PATH_MAX], error[CLI_ERROR];
    int code = path_of(r->p, run, "", directory);
    if (!code) code = path_of(r->p, run, RUN_LOG, log);
    if (code) return code;
    enum train_status made = files_make_directory(directory, error, sizeof error);
    if (made) return cli_fail(cli_code_train(made), "%s", error);
    char *text = model_dump(row->model);
    code = text ? cli_train_write_text(directory, "model.json", text) : CLI_NOMEM;
    free(text);
    if (!code) code = write_run(r->p, row, run);
    if (code) return code;
    struct words w = { .n = 0 };
    command_line(r, row, run, directory, &w);
    const pid_t parent = getpid();
    fflush(NULL);
    run->pid = fork();
    if (!run->pid) become(w.word, log, parent);
    for (size_t i = 0; i < w.n; i++) free(w.word[i]);
    if (run->pid < 0) return cli_fail(CLI_NOMEM, "cannot start a process: %s", strerror(errno));
    run->state = RUN_TRAINS;
    r->trains++;
    return CLI_OK;
}

/* The last sentence of its log, without "convoy: ". */
static void read_trouble(const struct experiment_plan *p, struct experiment_run *run)
{
    char path[PATH_MAX], *line = NULL;
    size_t room = 0;
    if (path_of(p, run, RUN_LOG, path)) return;
    FILE *f = fopen(path, "r");
    while (f && getline(&line, &room, f) > 0) {
        line[strcspn(line, "\n")] = '\0';
        const char *text = strncmp(line, "convoy: ", 8) ? line : line + 8;
        if (*text && strncmp(text, "Try '", 5))
            snprintf(run->trouble, sizeof run->trouble, "%s", text);
    }
    if (f) fclose(f);
    free(line);
}

static int end(struct runner *r, const struct experiment_row *row, struct experiment_run *run,
               int status)
{
    run->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    run->pid = 0;
    r->trains--;
    const bool stopped = r->stopping && run->code > 128;
    run->state = stopped ? RUN_WAITS : RUN_DONE;
    run->resumed = true;
    experiment_read(r->p, row, run);
    if (stopped) return CLI_OK;
    r->over++;
    int code = write_run(r->p, row, run);
    if (run->code == CLI_OK || run->code == CLI_NUMERIC) return code;
    read_trouble(r->p, run);
    fputs(cli_screen_erase(&r->screen), stderr);
    cli_fail(0, "%s/%s: %s", r->p->directory, run->name,
             *run->trouble ? run->trouble : "it ended without a word");
    if (!r->code) r->code = run->code;
    return code;
}

/* ------------------------------------------------------------------------------------- the loop */

static void show(struct runner *r)
{
    const size_t n = r->p->n * r->p->seeds;
    double done = 0, first = 0;
    char number[CLI_NUMBER], count[64], eta[64] = "", names[200] = "";
    if (!cli_screen_due(&r->screen)) return;
    for (size_t i = 0, used = 0; i < n; i++) {
        struct experiment_run *run = run_at(r->p, i);
        if (run->state == RUN_TRAINS) {
            experiment_read(r->p, &r->p->row[i / r->p->seeds], run);
            if (used < sizeof names)
                used += (size_t)snprintf(names + used, sizeof names - used, "%s%s",
                                         used ? ", " : "", run->name);
        }
        done += run->done;
        first += run->done_first;
    }
    snprintf(count, sizeof count, "run %zu/%zu", r->over + (r->trains > 0), n);
    const double took = train_now() - r->start;
    if (done > first)
        snprintf(eta, sizeof eta, "ETA %s",
                 cli_time(took * ((double)n - done) / (done - first), number));
    const char *const parts[] = { count, *eta ? eta : "ETA -", names, NULL };
    cli_screen_show(&r->screen, done / (double)n, parts);
}

/* Whose process that was. */
static int reap(struct runner *r, pid_t pid, int status)
{
    for (size_t i = 0; i < r->p->n * r->p->seeds; i++) {
        struct experiment_run *run = run_at(r->p, i);
        if (run->pid != pid) continue;
        int code = end(r, &r->p->row[i / r->p->seeds], run, status);
        fputs(cli_screen_erase(&r->screen), stderr);
        fflush(stderr);
        r->changed(r->p);
        return code;
    }
    return CLI_OK;
}

static void stop(struct runner *r)
{
    r->stopping = true;
    for (size_t i = 0; i < r->p->n * r->p->seeds; i++)
        if (run_at(r->p, i)->pid > 0) kill(run_at(r->p, i)->pid, SIGTERM);
}

/* The first that waits; NULL: none. */
static struct experiment_run *next(const struct experiment_plan *p, size_t *row)
{
    for (size_t i = 0; i < p->n * p->seeds; i++) {
        *row = i / p->seeds;
        if (run_at(p, i)->state == RUN_WAITS) return run_at(p, i);
    }
    return NULL;
}

/* The CPUs that this process may use. */
static size_t cpus(void)
{
    cvy_machine m;
    cvy_machine_describe(&m);
    size_t n = m.cpus_allowed;
    if (m.cgroup_quota > 0 && m.cgroup_quota < (double)n) n = (size_t)ceil(m.cgroup_quota);
    return n ? n : 1;
}

/* One thread a run and as many runs as CPUs are the fastest: nets of experiments are small, and a
 * thread that waits for nobody does the most (docs/benchmarks.md). */
static void share_cpus(struct runner *r, size_t runs)
{
    const struct experiment_options *o = r->p->o;
    const size_t all = cpus(), threads = o->engine.threads;
    r->jobs = o->jobs;
    if (!r->jobs) r->jobs = threads ? all / threads : all;
    if (r->jobs > runs) r->jobs = runs;
    if (!r->jobs) r->jobs = 1;
    r->threads = threads ? threads : all / r->jobs;
    if (!r->threads) r->threads = 1;
}

int experiment_train(struct experiment_plan *p, void (*changed)(struct experiment_plan *p))
{
    const size_t n = p->n * p->seeds;
    const struct timespec pause = { 0, 10000000 };
    struct runner r = { .p = p, .changed = changed, .start = train_now() };
    int code = CLI_OK;
    for (size_t i = 0; i < n && !code; i++) code = look(p, &p->row[i / p->seeds], run_at(p, i));
    if (code) return code;
    for (size_t i = 0; i < n; i++) r.over += run_at(p, i)->state == RUN_DONE;
    share_cpus(&r, n - r.over);
    if (!p->o->quiet) r.screen = cli_screen_open();
    cli_catch_signals();
    p->began = true;
    changed(p);
    for (;;) {
        size_t row;
        int status;
        struct experiment_run *run;
        if ((cli_stop_signal || code) && !r.stopping) stop(&r);
        while (!r.stopping && !code && r.trains < r.jobs && (run = next(p, &row)))
            code = begin(&r, &p->row[row], run);
        if (!r.trains) break;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            int failed = reap(&r, pid, status);
            if (!code) code = failed;
            continue;
        }
        show(&r);
        nanosleep(&pause, NULL);
    }
    cli_screen_clear(&r.screen);
    if (code) return code;
    return cli_stop_signal ? 128 + (int)cli_stop_signal : r.code;
}
