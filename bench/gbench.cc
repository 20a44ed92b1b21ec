/* gbench.h over Google Benchmark's C++ interface. Nothing from internal namespaces, nothing that a
 * release after 1.7.1 took away. */
#include "gbench.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <memory>
#include <streambuf>
#include <string>
#include <utility>
#include <vector>

using benchmark::Counter;

struct gb_state {
    benchmark::State &state;
};

namespace
{

static_assert(int(GB_COUNTER_RATE) == int(Counter::kIsRate) &&
                  int(GB_COUNTER_AVG_THREADS) == int(Counter::kAvgThreads) &&
                  int(GB_COUNTER_INVARIANT) == int(Counter::kIsIterationInvariant) &&
                  int(GB_COUNTER_AVG_ITERATIONS) == int(Counter::kAvgIterations),
              "the flags are Google Benchmark's");

/* The class of a registered benchmark, wherever this release keeps it. */
using Registered = typename std::remove_pointer<decltype(benchmark::RegisterBenchmark(
    "", std::declval<void (*)(benchmark::State &)>()))>::type;

Registered *cxx(gb_benchmark *b) { return reinterpret_cast<Registered *>(b); }

/* A stdio stream as a C++ one. */
class Stream : public std::streambuf
{
  public:
    explicit Stream(FILE *f) : out(this), file(f) {}
    std::ostream out;
    bool good() { return !failed && !ferror(file) && fflush(file) == 0; }

  protected:
    int overflow(int c) override { return c == EOF || putc(c, file) != EOF ? 0 : fail(); }
    std::streamsize xsputn(const char *s, std::streamsize n) override
    {
        if (fwrite(s, 1, static_cast<size_t>(n), file) != static_cast<size_t>(n)) fail();
        return n;
    }
    int sync() override { return fflush(file) == 0 ? 0 : fail(); }

  private:
    int fail()
    {
        failed = true;
        return EOF;
    }
    FILE *file;
    bool failed = false;
};

using Run = benchmark::BenchmarkReporter::Run;

/* A run's error was renamed after 1.7.1. */
template <class R>
auto error_of(const R &run, int) -> decltype(run.error_occurred, (const char *)nullptr)
{
    return run.error_occurred ? run.error_message.c_str() : nullptr;
}
template <class R>
auto error_of(const R &run, long) -> decltype(run.skip_message, (const char *)nullptr)
{
    return run.skipped ? run.skip_message.c_str() : nullptr;
}

/* A reporter that calls C. */
class Custom : public benchmark::BenchmarkReporter
{
  public:
    Custom(gb_report_fn *f, void *u) : fn(f), user(u) {}
    bool ReportContext(const Context &) override { return true; }
    void ReportRuns(const std::vector<Run> &runs) override
    {
        for (const Run &run : runs) {
            std::vector<gb_counter_report> counters;
            for (const auto &c : run.counters)
                counters.push_back({ c.first.c_str(), c.second.value });
            const std::string name = run.benchmark_name();
            const bool aggregate = run.run_type == Run::RT_Aggregate;
            const gb_run_report report = { name.c_str(),
                                           run.report_label.c_str(),
                                           error_of(run, 0),
                                           aggregate ? run.aggregate_name.c_str() : nullptr,
                                           benchmark::GetTimeUnitString(run.time_unit),
                                           run.iterations,
                                           run.threads,
                                           run.repetition_index,
                                           run.repetitions,
                                           run.GetAdjustedRealTime(),
                                           run.GetAdjustedCPUTime(),
                                           counters.size(),
                                           counters.data() };
            fn(user, &report);
        }
    }

  private:
    gb_report_fn *fn;
    void *user;
};

/* Long form, because runs differ in their counters. Not Google's CSV reporter: that one is
 * announced to go. */
class Csv : public benchmark::BenchmarkReporter
{
  public:
    bool ReportContext(const Context &) override
    {
        GetOutputStream() << "name,run_type,repetition,figure,value\n";
        return true;
    }
    void ReportRuns(const std::vector<Run> &runs) override
    {
        for (const Run &run : runs) {
            if (error_of(run, 0)) {
                line(run, "error", error_of(run, 0));
                continue;
            }
            const std::string unit = benchmark::GetTimeUnitString(run.time_unit);
            line(run, "iterations", std::to_string(run.iterations));
            line(run, "real_time_" + unit, number(run.GetAdjustedRealTime()));
            line(run, "cpu_time_" + unit, number(run.GetAdjustedCPUTime()));
            for (const auto &c : run.counters) line(run, c.first, number(c.second.value));
        }
    }

  private:
    static std::string number(double v)
    {
        char text[32];
        snprintf(text, sizeof text, "%.17g", v);
        return text;
    }
    static std::string quoted(const std::string &s)
    {
        std::string q = "\"";
        for (char c : s) q += c == '"' ? "\"\"" : std::string(1, c);
        return q + "\"";
    }
    void line(const Run &run, const std::string &figure, const std::string &value)
    {
        const bool aggregate = run.run_type == Run::RT_Aggregate;
        GetOutputStream() << quoted(run.benchmark_name()) << ','
                          << (aggregate ? "aggregate" : "iteration") << ','
                          << (aggregate ? quoted(run.aggregate_name)
                                        : std::to_string(run.repetition_index))
                          << ',' << quoted(figure) << ',' << quoted(value) << '\n';
    }
};

} // namespace

struct gb_reporter {
    std::unique_ptr<Stream> out, err;
    std::unique_ptr<benchmark::BenchmarkReporter> inner;
    std::vector<std::string> hidden;
    bool began = false;
    size_t width = 0;
    int64_t families = 0, last = -1; /* of earlier gb_run calls: the numbers go on */

    bool hides(const std::string &counter) const
    {
        for (const std::string &prefix : hidden)
            if (counter.compare(0, prefix.size(), prefix) == 0) return true;
        return false;
    }
    bool context(const benchmark::BenchmarkReporter::Context &c)
    {
        if (began) return true;
        began = true;
        benchmark::BenchmarkReporter::Context copy = c;
        if (width) copy.name_field_width = width;
        return inner->ReportContext(copy);
    }
};

namespace
{

/* Hands everything to several reporters, the head only once. */
class Fan : public benchmark::BenchmarkReporter
{
  public:
    Fan(gb_reporter *const *r, size_t n) : reporters(r, r + n) {}
    bool ReportContext(const Context &context) override
    {
        for (gb_reporter *r : reporters)
            if (!r->context(context)) return false;
        return true;
    }
    void ReportRuns(const std::vector<Run> &runs) override
    {
        for (gb_reporter *r : reporters) {
            std::vector<Run> copy = runs;
            for (Run &run : copy) {
                run.family_index += r->families;
                r->last = std::max(r->last, run.family_index);
                for (auto c = run.counters.begin(); c != run.counters.end();)
                    c = r->hides(c->first) ? run.counters.erase(c) : std::next(c);
            }
            r->inner->ReportRuns(copy);
            r->inner->GetOutputStream().flush();
        }
    }
    void Finalize() override
    {
        for (gb_reporter *r : reporters) r->families = r->last + 1;
    }

  private:
    std::vector<gb_reporter *> reporters;
};

/* Statistics are plain functions without a user pointer: one for each of a fixed number of
 * slots. */
gb_statistic_fn *statistics[GB_MAX_STATISTICS];

template <size_t I> double statistic(const std::vector<double> &v)
{
    return statistics[I](v.data(), v.size());
}

using StatisticFn = double (*)(const std::vector<double> &);
template <size_t I> struct Slots {
    static StatisticFn get(size_t i)
    {
        return i == I - 1 ? statistic<I - 1> : Slots<I - 1>::get(i);
    }
};
template <> struct Slots<0> {
    static StatisticFn get(size_t) { return nullptr; }
};

const benchmark::TimeUnit units[] = { benchmark::kNanosecond, benchmark::kMicrosecond,
                                      benchmark::kMillisecond, benchmark::kSecond };
const benchmark::BigO complexities[] = { benchmark::oNone,     benchmark::o1,      benchmark::oN,
                                         benchmark::oNSquared, benchmark::oNCubed, benchmark::oLogN,
                                         benchmark::oNLogN,    benchmark::oAuto };

gb_reporter *reporter(std::unique_ptr<benchmark::BenchmarkReporter> inner, FILE *out, FILE *err)
{
    gb_reporter *r = new gb_reporter;
    r->inner = std::move(inner);
    if (out) {
        r->out.reset(new Stream(out));
        r->inner->SetOutputStream(&r->out->out);
    }
    if (err) {
        r->err.reset(new Stream(err));
        r->inner->SetErrorStream(&r->err->out);
    }
    return r;
}

} // namespace

extern "C" {

void gb_initialize(int *argc, char **argv) { benchmark::Initialize(argc, argv); }
bool gb_report_unrecognized(int argc, char **argv)
{
    return benchmark::ReportUnrecognizedArguments(argc, argv);
}
const char *gb_filter(void)
{
    static std::string filter;
    filter = benchmark::GetBenchmarkFilter();
    return filter.c_str();
}
void gb_add_context(const char *key, const char *value) { benchmark::AddCustomContext(key, value); }

gb_benchmark *gb_register(const char *name, gb_fn *fn, void *user)
{
    return reinterpret_cast<gb_benchmark *>(
        benchmark::RegisterBenchmark(name, [fn, user](benchmark::State &state) {
            gb_state c = { state };
            fn(&c, user);
        }));
}
void gb_clear(void) { benchmark::ClearRegisteredBenchmarks(); }

void gb_add_arg(gb_benchmark *b, int64_t arg) { cxx(b)->Arg(arg); }
void gb_add_args(gb_benchmark *b, const int64_t *args, size_t n)
{
    cxx(b)->Args({ args, args + n });
}
void gb_add_range(gb_benchmark *b, int64_t first, int64_t last) { cxx(b)->Range(first, last); }
void gb_add_dense_range(gb_benchmark *b, int64_t first, int64_t last, int step)
{
    cxx(b)->DenseRange(first, last, step);
}
void gb_add_ranges(gb_benchmark *b, const int64_t (*first_last)[2], size_t n)
{
    std::vector<std::pair<int64_t, int64_t>> ranges;
    for (size_t i = 0; i < n; i++) ranges.emplace_back(first_last[i][0], first_last[i][1]);
    cxx(b)->Ranges(ranges);
}
void gb_add_product(gb_benchmark *b, const int64_t *const *lists, const size_t *lengths, size_t n)
{
    std::vector<std::vector<int64_t>> product;
    for (size_t i = 0; i < n; i++) product.emplace_back(lists[i], lists[i] + lengths[i]);
    cxx(b)->ArgsProduct(product);
}
void gb_set_range_multiplier(gb_benchmark *b, int multiplier)
{
    cxx(b)->RangeMultiplier(multiplier);
}
void gb_set_arg_names(gb_benchmark *b, const char *const *names, size_t n)
{
    cxx(b)->ArgNames({ names, names + n });
}

void gb_set_unit(gb_benchmark *b, enum gb_unit unit) { cxx(b)->Unit(units[unit]); }
void gb_set_min_time(gb_benchmark *b, double seconds) { cxx(b)->MinTime(seconds); }
void gb_set_warm_up(gb_benchmark *b, double seconds) { cxx(b)->MinWarmUpTime(seconds); }
void gb_set_iterations(gb_benchmark *b, int64_t iterations) { cxx(b)->Iterations(iterations); }
void gb_set_repetitions(gb_benchmark *b, int repetitions) { cxx(b)->Repetitions(repetitions); }
void gb_report_aggregates_only(gb_benchmark *b, bool everywhere)
{
    if (everywhere) cxx(b)->ReportAggregatesOnly(true);
    else cxx(b)->DisplayAggregatesOnly(true);
}
void gb_use_real_time(gb_benchmark *b) { cxx(b)->UseRealTime(); }
void gb_use_manual_time(gb_benchmark *b) { cxx(b)->UseManualTime(); }
void gb_measure_process_cpu_time(gb_benchmark *b) { cxx(b)->MeasureProcessCPUTime(); }
void gb_add_threads(gb_benchmark *b, int threads) { cxx(b)->Threads(threads); }
void gb_add_thread_range(gb_benchmark *b, int first, int last) { cxx(b)->ThreadRange(first, last); }
void gb_add_dense_thread_range(gb_benchmark *b, int first, int last, int stride)
{
    cxx(b)->DenseThreadRange(first, last, stride);
}
void gb_add_thread_per_cpu(gb_benchmark *b) { cxx(b)->ThreadPerCpu(); }
void gb_set_complexity(gb_benchmark *b, enum gb_complexity complexity)
{
    cxx(b)->Complexity(complexities[complexity]);
}
void gb_set_complexity_fn(gb_benchmark *b, double (*f)(int64_t n)) { cxx(b)->Complexity(f); }
bool gb_add_statistic(gb_benchmark *b, const char *name, gb_statistic_fn *fn, bool percentage)
{
    size_t i = 0;
    while (i < GB_MAX_STATISTICS && statistics[i] && statistics[i] != fn) i++;
    if (i == GB_MAX_STATISTICS) return false;
    statistics[i] = fn;
    cxx(b)->ComputeStatistics(name, Slots<GB_MAX_STATISTICS>::get(i),
                              percentage ? benchmark::kPercentage : benchmark::kTime);
    return true;
}

int64_t gb_loop_begin(gb_state *s)
{
    return s->state.KeepRunningBatch(s->state.max_iterations) ? s->state.max_iterations : 0;
}
bool gb_loop_end(gb_state *s)
{
    return !s->state.error_occurred() && s->state.KeepRunning();
} /* false: the run is over */
bool gb_keep_running(gb_state *s) { return s->state.KeepRunning(); }
bool gb_keep_running_batch(gb_state *s, int64_t n) { return s->state.KeepRunningBatch(n); }
void gb_pause(gb_state *s) { s->state.PauseTiming(); }
void gb_resume(gb_state *s) { s->state.ResumeTiming(); }
void gb_set_iteration_time(gb_state *s, double seconds) { s->state.SetIterationTime(seconds); }
void gb_skip_with_error(gb_state *s, const char *message) { s->state.SkipWithError(message); }
bool gb_error_occurred(const gb_state *s) { return s->state.error_occurred(); }
int64_t gb_range(const gb_state *s, size_t index) { return s->state.range(index); }
int64_t gb_iterations(const gb_state *s) { return s->state.iterations(); }
int64_t gb_max_iterations(const gb_state *s) { return s->state.max_iterations; }
int gb_thread_index(const gb_state *s) { return s->state.thread_index(); }
int gb_threads(const gb_state *s) { return s->state.threads(); }
void gb_set_label(gb_state *s, const char *label) { s->state.SetLabel(label); }
void gb_set_complexity_n(gb_state *s, int64_t n) { s->state.SetComplexityN(n); }
void gb_set_bytes_processed(gb_state *s, int64_t bytes) { s->state.SetBytesProcessed(bytes); }
void gb_set_items_processed(gb_state *s, int64_t items) { s->state.SetItemsProcessed(items); }
void gb_set_counter(gb_state *s, const char *name, double value, unsigned flags)
{
    gb_set_counter_base(s, name, value, flags, GB_BASE_1000);
}
void gb_set_counter_base(gb_state *s, const char *name, double value, unsigned flags,
                         enum gb_counter_base base)
{
    unsigned f = flags & (Counter::kIsRate | Counter::kAvgThreads | Counter::kIsIterationInvariant |
                          Counter::kAvgIterations);
    if (flags & GB_COUNTER_INVERT) f |= Counter::kInvert;
    s->state.counters[name] = Counter(value, static_cast<Counter::Flags>(f),
                                      base == GB_BASE_1024 ? Counter::kIs1024 : Counter::kIs1000);
}

gb_reporter *gb_reporter_console(FILE *out, FILE *err, unsigned options)
{
    int o = (options & GB_COLOR ? benchmark::ConsoleReporter::OO_Color : 0) |
            (options & GB_TABULAR ? benchmark::ConsoleReporter::OO_Tabular : 0);
    auto *console =
        new benchmark::ConsoleReporter(static_cast<benchmark::ConsoleReporter::OutputOptions>(o));
    return reporter(std::unique_ptr<benchmark::BenchmarkReporter>(console), out, err);
}
gb_reporter *gb_reporter_json(FILE *out)
{
    return reporter(std::unique_ptr<benchmark::BenchmarkReporter>(new benchmark::JSONReporter), out,
                    nullptr);
}
gb_reporter *gb_reporter_csv(FILE *out)
{
    return reporter(std::unique_ptr<benchmark::BenchmarkReporter>(new Csv), out, nullptr);
}
gb_reporter *gb_reporter_custom(gb_report_fn *fn, void *user)
{
    return reporter(std::unique_ptr<benchmark::BenchmarkReporter>(new Custom(fn, user)), nullptr,
                    nullptr);
}
void gb_reporter_hide(gb_reporter *r, const char *prefix) { r->hidden.push_back(prefix); }
void gb_reporter_set_width(gb_reporter *r, size_t width) { r->width = width; }

bool gb_reporter_close(gb_reporter *r)
{
    /* nothing ran: the head is still to come */
    r->context(benchmark::BenchmarkReporter::Context());
    r->inner->Finalize();
    r->inner->GetOutputStream().flush();
    const bool good = (!r->out || r->out->good()) && (!r->err || r->err->good());
    delete r;
    return good;
}

size_t gb_run(const char *filter, gb_reporter *const *reporters, size_t n)
{
    const std::string spec = filter ? filter : benchmark::GetBenchmarkFilter();
    if (!n) return benchmark::RunSpecifiedBenchmarks(nullptr, nullptr, spec);
    Fan fan(reporters, n);
    return benchmark::RunSpecifiedBenchmarks(&fan, spec);
}

} // extern "C"
