/* What runs have found: their metrics.jsonl as numbers, the table, experiment.json and .csv. */
#include "cli/experiment.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/screen.h"
#include "report/text.h"
#include "train/train.h"

#define METRIC_INFO(NAME, key, heading, digits) { key, heading, digits },
static const struct {
    const char *key, *heading;
    int digits;
} metrics[METRICS] = { EXPERIMENT_METRICS(METRIC_INFO) };

const char *experiment_key(enum experiment_metric metric) { return metrics[metric].key; }
const char *experiment_heading(enum experiment_metric metric) { return metrics[metric].heading; }

/* -------------------------------------------------------------------------------------- reading */

/* The losses of the last steps, as epochs tell them: their means and how many steps each is of. */
enum { LAST = 100 };
struct losses {
    size_t n;
    double mean[LAST], steps[LAST]; /* as in a ring: epoch e at e % LAST */
};

static double last_losses(const struct losses *l)
{
    double sum = 0, steps = 0;
    for (size_t k = 0; k < l->n && k < LAST && steps < LAST; k++) {
        const size_t at = (l->n - 1 - k) % LAST;
        const double take = fmin(l->steps[at], LAST - steps);
        sum += take * l->mean[at];
        steps += take;
    }
    return steps > 0 ? sum / steps : NAN;
}

static void take(double *to, const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    if (json_is_number(value)) *to = json_number_value(value);
}

static void most(double *to, double value)
{
    if (!(*to >= value)) *to = value; /* NaN, too */
}

/* The last answer of the probe, and over what its median has moved. */
static void read_probe(struct experiment_run *run, const json_t *probe, double range[2])
{
    double *m = run->metric;
    if (!probe) return;
    take(&m[METRIC_P15], probe, "p15");
    take(&m[METRIC_P50], probe, "p50");
    take(&m[METRIC_P85], probe, "p85");
    range[0] = fmin(range[0], m[METRIC_P50]);
    range[1] = fmax(range[1], m[METRIC_P50]);
    m[METRIC_MOVED] = range[1] - range[0];
}

static void read_line(struct experiment_run *run, const json_t *line, double *step,
                      struct losses *losses)
{
    double *m = run->metric, now = 0, loss = 0, best = NAN;
    const char *type = json_string_value(json_object_get(line, "type"));
    if (!type || !strcmp(type, "recovery")) return;
    take(&m[METRIC_TEST], line, "test_acc");
    take(&m[METRIC_VALID], line, "valid_acc");
    take(&best, line, "valid_acc");
    if (!isnan(best)) most(&m[METRIC_BEST_VALID], best);
    take(&m[METRIC_LOSS], line, "train_loss");
    take(&m[METRIC_TRAIN], line, "train_acc");
    if (strcmp(type, "epoch")) return;
    take(&m[METRIC_SECONDS], line, "step_seconds");
    take(&m[METRIC_TRAIN], line, "eval_train_acc"); /* inference's, where it was asked for */
    most(&m[METRIC_BEST_TRAIN], m[METRIC_TRAIN]);
    take(&now, line, "step");
    take(&loss, line, "train_loss");
    losses->mean[losses->n % LAST] = loss;
    losses->steps[losses->n++ % LAST] = now - *step;
    *step = now;
    run->epochs++;
}

void experiment_read(const struct experiment_plan *p, const struct experiment_row *row,
                     struct experiment_run *run)
{
    char path[PATH_MAX], *line = NULL;
    size_t room = 0;
    double epoch = 0, step = 0, steps = 0, epochs = 0, all_steps = 0;
    double range[2] = { INFINITY, -INFINITY };
    struct losses losses = { 0 };
    for (int k = 0; k < METRICS; k++) run->metric[k] = NAN;
    run->metric[METRIC_PARAMETERS] = row->parameters;
    run->epochs = 0;
    snprintf(path, sizeof path, "%s/%s/" TRAIN_METRICS, p->directory, run->name);
    FILE *f = fopen(path, "r");
    while (f && getline(&line, &room, f) > 0) {
        json_t *json = json_loads(line, 0, NULL); /* NULL of a line that is being written */
        read_line(run, json, &step, &losses);
        read_probe(run, json_object_get(json, "probe"), range);
        take(&epoch, json, "epoch");
        take(&steps, json, "step");
        json_decref(json);
    }
    if (f) fclose(f);
    free(line);
    run->metric[METRIC_LAST_LOSS] = last_losses(&losses);
    take(&epochs, json_object_get(row->model, "defaults"), "epochs");
    take(&all_steps, json_object_get(row->model, "defaults"), "steps");
    if (all_steps > 0) run->done = fmin(steps / all_steps, 1);
    else run->done = epochs > 0 ? fmin(epoch / epochs, 1) : 0;
    if (run->state != RUN_DONE) return;
    run->done = 1;
    if (p->e->shifts && !run->code) run->metric[METRIC_SHIFT] = experiment_shift(p, run);
    if (run->code == CLI_NUMERIC) run->metric[METRIC_LOSS] = run->metric[METRIC_LAST_LOSS] = NAN;
}

/* ------------------------------------------------------------------------------------- together */

double experiment_mean(const struct experiment_plan *p, const struct experiment_row *row,
                       enum experiment_metric metric)
{
    double sum = 0;
    for (size_t s = 0; s < p->seeds; s++) sum += row->run[s].metric[metric];
    return sum / (double)p->seeds;
}

double experiment_deviation(const struct experiment_plan *p, const struct experiment_row *row,
                            enum experiment_metric metric)
{
    const double mean = experiment_mean(p, row, metric);
    double sum = 0;
    if (p->seeds < 2) return 0;
    for (size_t s = 0; s < p->seeds; s++) sum += pow(row->run[s].metric[metric] - mean, 2);
    return sqrt(sum / (double)(p->seeds - 1));
}

static bool run_fails(const struct experiment_plan *p, const struct experiment_row *row,
                      const struct experiment_run *run)
{
    const double limit = p->e->chance ? row->chance : INFINITY;
    return run->state == RUN_DONE && !(run->metric[METRIC_LOSS] < limit);
}

bool experiment_fails(const struct experiment_plan *p, const struct experiment_row *row)
{
    bool fails = false;
    for (size_t s = 0; s < p->seeds; s++) fails |= run_fails(p, row, &row->run[s]);
    return fails;
}

const struct experiment_row *experiment_find(const struct experiment_plan *p, const char *group,
                                             const char *value)
{
    for (size_t i = 0; i < p->n; i++)
        if ((!group || !strcmp(p->row[i].group, group)) &&
            (!value || !strcmp(p->row[i].value, value)))
            return &p->row[i];
    return NULL;
}

/* ---------------------------------------------------------------------------------------- table */

static bool complete(const struct experiment_plan *p, const struct experiment_row *row)
{
    for (size_t s = 0; s < p->seeds; s++)
        if (row->run[s].state != RUN_DONE) return false;
    return true;
}

static size_t widest(const struct experiment_plan *p, bool group)
{
    size_t width = text_width(group ? p->e->groups : p->e->axis);
    for (size_t i = 0; i < p->n; i++) {
        const size_t w = text_width(group ? p->row[i].group : p->row[i].value);
        if (w > width) width = w;
    }
    return width + 2;
}

static size_t column_width(const struct experiment_plan *p, enum experiment_metric metric)
{
    const size_t least = p->seeds > 1 && metric != METRIC_PARAMETERS ? 13 : 5;
    const size_t heading = strlen(metrics[metric].heading);
    return heading > least ? heading : least;
}

/* Right-aligned, by columns and not bytes. */
static void print_right(const char *text, size_t width)
{
    for (size_t w = text_width(text); w < width; w++) putchar(' ');
    fputs(text, stdout);
}

static void print_head(const struct experiment_plan *p)
{
    text_pad(stdout, p->e->axis, widest(p, false));
    if (p->e->groups) text_pad(stdout, p->e->groups, widest(p, true));
    for (const enum experiment_metric *m = p->e->metric; *m != METRICS; m++) {
        if (m != p->e->metric) fputs("  ", stdout);
        print_right(metrics[*m].heading, column_width(p, *m));
    }
    putchar('\n');
}

/* Why a row's numbers are not what a reader expects: in few words. */
static void remark(const struct experiment_plan *p, const struct experiment_row *row, char *out,
                   size_t size)
{
    size_t lost = 0, stuck = 0, failed = 0, epoch = 0;
    *out = '\0';
    for (size_t s = 0; s < p->seeds; s++) {
        const struct experiment_run *run = &row->run[s];
        if (run->state != RUN_DONE) continue;
        if (run->code == CLI_NUMERIC) {
            lost++;
            epoch = run->epochs + 1;
        } else if (run->code) failed++;
        else if (run_fails(p, row, run)) stuck++;
    }
    char of[32] = "";
    if (p->seeds > 1) snprintf(of, sizeof of, " of %zu", p->seeds);
    if (failed) snprintf(out, size, "not run");
    else if (lost && p->seeds == 1) snprintf(out, size, "not finite in epoch %zu", epoch);
    else if (lost) snprintf(out, size, "%zu%s not finite", lost, of);
    else if (stuck && p->seeds == 1) snprintf(out, size, "learns nothing");
    else if (stuck) snprintf(out, size, "%zu%s learn nothing", stuck, of);
}

static void print_row(const struct experiment_plan *p, size_t i)
{
    const struct experiment_row *row = &p->row[i];
    const bool again = i && !strcmp(p->row[i - 1].value, row->value) && p->e->groups;
    char text[96], note[96];
    text_pad(stdout, again ? "" : row->value, widest(p, false));
    if (p->e->groups) text_pad(stdout, row->group, widest(p, true));
    for (const enum experiment_metric *m = p->e->metric; *m != METRICS; m++) {
        const double mean = experiment_mean(p, row, *m), sd = experiment_deviation(p, row, *m);
        const int digits = metrics[*m].digits;
        if (isnan(mean)) strcpy(text, "-");
        else if (p->seeds > 1 && *m != METRIC_PARAMETERS)
            snprintf(text, sizeof text, "%.*f ± %.*f", digits, mean, digits, sd);
        else snprintf(text, sizeof text, "%.*f", digits, mean);
        if (m != p->e->metric) fputs("  ", stdout);
        print_right(text, column_width(p, *m));
    }
    remark(p, row, note, sizeof note);
    printf("%s%s\n", *note ? "  " : "", note);
}

void experiment_print(struct experiment_plan *p, bool all)
{
    if (!p->printed_head) print_head(p);
    p->printed_head = true;
    for (; p->printed < p->n && (all || complete(p, &p->row[p->printed])); p->printed++)
        if (complete(p, &p->row[p->printed])) print_row(p, p->printed);
    fflush(stdout);
}

/* ---------------------------------------------------------------------------------------- files */

static int write_file(const struct experiment_plan *p, const char *name, const char *text)
{
    char path[PATH_MAX], error[CLI_ERROR];
    snprintf(path, sizeof path, "%s/%s", p->directory, name);
    if (!text) return cli_fail(CLI_NOMEM, "%s: out of memory", path);
    enum train_status status = files_write(path, text, strlen(text), error, sizeof error);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

static json_t *run_json(const struct experiment_plan *p, const struct experiment_row *row,
                        const struct experiment_run *run)
{
    json_t *json =
        json_pack("{s:s, s:s, s:f, s:f, s:I, s:s, s:b}", "group", row->group, "value", row->value,
                  "x", row->x, "chance", row->chance, "seed", (json_int_t)run->seed, "run",
                  run->name, "finished", run->state == RUN_DONE);
    if (run->state == RUN_DONE) {
        json_object_set_new(json, "exit", json_integer(run->code));
        json_object_set_new(json, "fails", json_boolean(run_fails(p, row, run)));
    }
    for (int k = 0; k < METRICS; k++)
        json_object_set_new(json, metrics[k].key,
                            isfinite(run->metric[k]) ? json_real(run->metric[k]) : json_null());
    return json;
}

json_t *experiment_rows(const struct experiment_plan *p)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < p->n; i++)
        for (size_t s = 0; s < p->seeds; s++)
            json_array_append_new(rows, run_json(p, &p->row[i], &p->row[i].run[s]));
    return rows;
}

static int write_json(const struct experiment_plan *p, const char *sentence)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:s?, s:o}", "convoy", cvy_version(), "command",
        p->e->command, "experiment", p->e->name, "axis", p->e->axis, "about", p->e->about, "seeds",
        (json_int_t)p->seeds, "quick", p->o->quick, "found", sentence, "rows", experiment_rows(p));
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    int code = write_file(p, "experiment.json", text);
    free(text);
    json_decref(json);
    return code;
}

/* As RFC 4180 has it: in quotes where there is a comma or a quote. */
static void csv_text(FILE *f, const char *text)
{
    if (!strpbrk(text, ",\"\n")) {
        fputs(text, f);
        return;
    }
    putc('"', f);
    for (; *text; text++) {
        if (*text == '"') putc('"', f);
        putc(*text, f);
    }
    putc('"', f);
}

static int write_csv(const struct experiment_plan *p)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) return cli_fail(CLI_NOMEM, "out of memory");
    fputs("group,value,x,seed,run,exit,fails", f);
    for (int k = 0; k < METRICS; k++) fprintf(f, ",%s", metrics[k].key);
    putc('\n', f);
    for (size_t i = 0; i < p->n * p->seeds; i++) {
        const struct experiment_row *row = &p->row[i / p->seeds];
        const struct experiment_run *run = &row->run[i % p->seeds];
        if (run->state != RUN_DONE) continue;
        csv_text(f, row->group);
        putc(',', f);
        csv_text(f, row->value);
        fprintf(f, ",%.9g,%llu,%s,%d,%d", row->x, (unsigned long long)run->seed, run->name,
                run->code, run_fails(p, row, run));
        for (int k = 0; k < METRICS; k++) {
            if (isfinite(run->metric[k])) fprintf(f, ",%.9g", run->metric[k]);
            else putc(',', f);
        }
        putc('\n', f);
    }
    const bool good = !fclose(f);
    int code = write_file(p, "experiment.csv", good ? text : NULL);
    free(text);
    return code;
}

int experiment_write(const struct experiment_plan *p, const char *sentence)
{
    int code = write_json(p, sentence);
    return code ? code : write_csv(p);
}
