/* The libmemcached client of the benchmark: a thread and a handle per caller, and one line of JSON as the report.
 *
 * It gets the scenario as arguments and runs it exactly as the Rust children do: the same keys in the same order, the
 * same check of each value, the same warm-up, and the latency of every n-th call.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <libmemcached/memcached.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum verb { GET, GET_MANY, SET };

enum {
    KEY_SIZE = 32,
    WARM_UP_MICROS = 200000,
    MAX_SECONDS = 120,
    LATENCIES_PER_SECOND = 50000,
    MAX_CONSECUTIVE_FAULTS = 100,
    WORKER_STRIDE = 104729,
    CALL_STRIDE = 7919,
    THREAD_STACK = 256 * 1024,
    /* Latencies fall into 64 buckets for each power of two: 1.6 % wide. */
    BUCKET_BITS = 6,
    BUCKETS = 64 << BUCKET_BITS,
};

static const uint32_t WARM_UP = 0;
static const uint32_t STOP = UINT32_MAX;

/* The scenario. */
static enum verb verb;
static size_t callers, batch, key_count, value_length;
static const char *host;
static char *ports;

/* The state that all callers share, as in workload.rs. */
static _Atomic uint32_t phase;
static _Atomic uint64_t latencies[BUCKETS];
static _Atomic uint64_t wrong, failed;
static _Atomic int first_fault; /* a memcached_return_t */
static char (*keys)[KEY_SIZE];
/* All threads start together: starting hundreds of them while others run takes seconds. */
static pthread_barrier_t start_barrier;

struct worker {
    _Alignas(64) _Atomic uint64_t ops;
    size_t number;
    memcached_st *handle;
    const char **batch_keys;
    size_t *batch_lengths;
    char *value;
};

static void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static uint64_t nanos(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- latencies ---- */

static size_t bucket_of(uint64_t value)
{
    int exponent = 63 - __builtin_clzll(value | 1);
    int shift = exponent > BUCKET_BITS ? exponent - BUCKET_BITS : 0;
    return ((size_t)shift << BUCKET_BITS) + (size_t)(value >> shift);
}

static double bucket_micros(size_t bucket)
{
    size_t shift = bucket >> BUCKET_BITS;
    /* The index of an inexact bucket includes the value's leading bit, so the shift is one less. */
    shift = shift > 0 ? shift - 1 : 0;
    uint64_t leading = bucket - (shift << BUCKET_BITS);
    return (double)(leading << shift) / 1000.0;
}

static uint64_t timed_calls(void)
{
    uint64_t total = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++)
        total += latencies[bucket];
    return total;
}

static double quantile(double fraction)
{
    uint64_t total = timed_calls(), seen = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += latencies[bucket];
        if (seen > 0 && (double)seen >= fraction * (double)total)
            return bucket_micros(bucket);
    }
    return 0;
}

/* ---- one caller ---- */

static bool is_value_of(const char *key, size_t key_length, const char *value, size_t length)
{
    return length == value_length && memcmp(value, key, key_length) == 0 &&
           memcmp(value + length - key_length, key, key_length) == 0;
}

static bool record(bool correct, memcached_return_t status)
{
    if (correct)
        return true;
    bool is_reply = status == MEMCACHED_SUCCESS || status == MEMCACHED_NOTFOUND || status == MEMCACHED_END;
    atomic_fetch_add(is_reply ? &wrong : &failed, 1);
    int none = MEMCACHED_SUCCESS;
    atomic_compare_exchange_strong(&first_fault, &none, (int)status);
    return false;
}

static bool get(struct worker *worker, const char *key)
{
    size_t key_length = strlen(key), length;
    uint32_t flags;
    memcached_return_t status;
    char *value = memcached_get(worker->handle, key, key_length, &length, &flags, &status);
    bool correct = value != NULL && is_value_of(key, key_length, value, length);
    free(value);
    return record(correct, status);
}

static bool get_many(struct worker *worker, size_t from)
{
    for (size_t index = 0; index < batch; index++) {
        worker->batch_keys[index] = keys[(from + index) % key_count];
        worker->batch_lengths[index] = strlen(worker->batch_keys[index]);
    }
    memcached_return_t status = memcached_mget(worker->handle, worker->batch_keys, worker->batch_lengths, batch);
    size_t correct = 0;
    memcached_result_st result;
    memcached_result_create(worker->handle, &result);
    while (memcached_fetch_result(worker->handle, &result, &status) != NULL)
        correct += is_value_of(memcached_result_key_value(&result), memcached_result_key_length(&result),
                             memcached_result_value(&result), memcached_result_length(&result));
    memcached_result_free(&result);
    return record(correct == batch, status);
}

static bool set(struct worker *worker, const char *key)
{
    size_t key_length = strlen(key);
    memcpy(worker->value, key, key_length);
    memcpy(worker->value + value_length - key_length, key, key_length);
    memcached_return_t status = memcached_set(worker->handle, key, key_length, worker->value, value_length, 0, 0);
    return record(status == MEMCACHED_SUCCESS, status);
}

static bool call(struct worker *worker, size_t from)
{
    switch (verb) {
    case GET:
        return get(worker, keys[from]);
    case GET_MANY:
        return get_many(worker, from);
    case SET:
        return set(worker, keys[from]);
    }
    return false;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    pthread_barrier_wait(&start_barrier);
    size_t next = worker->number * WORKER_STRIDE % key_count;
    uint32_t until_timed = 1, now, consecutive_faults = 0;
    uint64_t ops = 0;
    while ((now = atomic_load_explicit(&phase, memory_order_relaxed)) != STOP && consecutive_faults < MAX_CONSECUTIVE_FAULTS) {
        bool timed = now != WARM_UP && (until_timed <= 1 || --until_timed == 0);
        if (timed)
            until_timed = now;
        uint64_t start = timed ? nanos(CLOCK_MONOTONIC) : 0;
        size_t from = next;
        next = (next + CALL_STRIDE) % key_count;
        if (!call(worker, from)) {
            consecutive_faults++;
            continue;
        }
        consecutive_faults = 0;
        ops += batch;
        atomic_store_explicit(&worker->ops, ops, memory_order_relaxed);
        if (timed)
            atomic_fetch_add(&latencies[bucket_of(nanos(CLOCK_MONOTONIC) - start)], 1);
    }
    return NULL;
}

static void connect_worker(struct worker *worker)
{
    worker->handle = memcached_create(NULL);
    memcached_behavior_set(worker->handle, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
    char *list = strdup(ports), *rest = NULL;
    for (char *port = strtok_r(list, ",", &rest); port != NULL; port = strtok_r(NULL, ",", &rest))
        if (memcached_server_add(worker->handle, host, (in_port_t)atoi(port)) != MEMCACHED_SUCCESS)
            die("memcached_server_add failed");
    free(list);
    worker->batch_keys = calloc(batch, sizeof *worker->batch_keys);
    worker->batch_lengths = calloc(batch, sizeof *worker->batch_lengths);
    if (verb == SET) {
        worker->value = malloc(value_length);
        memset(worker->value, '.', value_length);
    }
    /* The library connects at its first request, which is not part of the measurement. */
    memcached_return_t status = memcached_version(worker->handle);
    if (status != MEMCACHED_SUCCESS)
        die(memcached_strerror(worker->handle, status));
}

/* ---- the counting round; see probe.rs ---- */

static int perf_control = -1, perf_acknowledged = -1;

static void open_probe(void)
{
    const char *control = getenv("REMCACHE_BENCH_PERF_CONTROL");
    const char *acknowledged = getenv("REMCACHE_BENCH_PERF_ACKNOWLEDGED");
    if (control == NULL || acknowledged == NULL)
        return;
    perf_control = open(control, O_WRONLY);
    perf_acknowledged = open(acknowledged, O_RDONLY);
    if (perf_control < 0 || perf_acknowledged < 0)
        die("perf's pipes cannot be opened");
}

static void mark(const char *path, const char *command)
{
    if (getenv("REMCACHE_BENCH_STRACE_MARKS") != NULL && access(path, F_OK) == 0)
        die("the path of a mark exists");
    if (perf_control < 0)
        return;
    char reply[5];
    if (write(perf_control, command, strlen(command)) < 0 || read(perf_acknowledged, reply, sizeof reply) < 0)
        die("perf does not acknowledge a command");
}

static bool allocations(uint64_t *count)
{
    const char *path = getenv("REMCACHE_BENCH_ALLOCATIONS");
    if (path == NULL)
        return false;
    int file = open(path, O_RDONLY);
    bool complete = file >= 0 && read(file, count, sizeof *count) == (ssize_t)sizeof *count;
    if (file >= 0)
        close(file);
    return complete;
}

/* ---- the measurement ---- */

struct snapshot {
    uint64_t at, cpu, ops, allocations;
    bool counted;
};

static uint64_t total_ops(struct worker *workers)
{
    uint64_t total = 0;
    for (size_t number = 0; number < callers; number++)
        total += workers[number].ops;
    return total;
}

static struct snapshot take_snapshot(struct worker *workers)
{
    struct snapshot taken = {0};
    taken.counted = allocations(&taken.allocations);
    taken.at = nanos(CLOCK_MONOTONIC);
    taken.cpu = nanos(CLOCK_PROCESS_CPUTIME_ID);
    taken.ops = total_ops(workers);
    return taken;
}

static void print_report(struct worker *workers, struct snapshot begin, struct snapshot end)
{
    printf("{\"ops\":%" PRIu64 ",\"claimed\":%" PRIu64, end.ops - begin.ops, total_ops(workers));
    printf(",\"seconds\":%.9f,\"cpu_micros\":%.3f", (double)(end.at - begin.at) / 1e9,
           (double)(end.cpu - begin.cpu) / 1e3);
    printf(",\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f", quantile(0.5), quantile(0.99), quantile(0.999));
    printf(",\"wrong\":%" PRIu64 ",\"failed\":%" PRIu64, (uint64_t)wrong, (uint64_t)failed);
    if (wrong + failed > 0)
        printf(",\"first_fault\":\"%s\"", memcached_strerror(NULL, (memcached_return_t)first_fault));
    if (begin.counted && end.counted)
        printf(",\"allocations\":%" PRIu64, end.allocations - begin.allocations);
    printf("}\n");
}

static void prepare_keys(void)
{
    keys = calloc(key_count, sizeof *keys);
    for (size_t index = 0; index < key_count; index++)
        snprintf(keys[index], sizeof keys[index], "key-%05zu", index);
}

static void raise_open_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static pthread_t *start_threads(struct worker *workers)
{
    pthread_t *threads = calloc(callers, sizeof *threads);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    pthread_barrier_init(&start_barrier, NULL, (unsigned)callers + 1);
    for (size_t number = 0; number < callers; number++)
        if (pthread_create(&threads[number], &attributes, run, &workers[number]) != 0)
            die("cannot start a thread");
    pthread_barrier_wait(&start_barrier);
    return threads;
}

/* Waits for a first result, without which there is no rate and no latency. The alarm limits the time. */
static void wait_for_a_result(void)
{
    while (timed_calls() + wrong + failed == 0)
        usleep(1000);
}

static void measure(double seconds)
{
    struct worker *workers = aligned_alloc(_Alignof(struct worker), callers * sizeof *workers);
    memset(workers, 0, callers * sizeof *workers);
    for (size_t number = 0; number < callers; number++) {
        workers[number].number = number;
        connect_worker(&workers[number]);
    }
    open_probe();
    pthread_t *threads = start_threads(workers);
    usleep(WARM_UP_MICROS / 2);
    struct snapshot halfway = take_snapshot(workers);
    usleep(WARM_UP_MICROS / 2);
    mark("/remcache-bench-begin", "enable\n");
    struct snapshot begin = take_snapshot(workers);
    double rate = (double)(begin.ops - halfway.ops) * 1e9 / (double)(begin.at - halfway.at);
    atomic_store(&phase, 1 + (uint32_t)(rate / LATENCIES_PER_SECOND));
    usleep((useconds_t)(seconds * 1e6));
    wait_for_a_result();
    struct snapshot end = take_snapshot(workers);
    mark("/remcache-bench-end", "disable\n");
    atomic_store(&phase, STOP);
    for (size_t number = 0; number < callers; number++)
        pthread_join(threads[number], NULL);
    print_report(workers, begin, end);
}

static enum verb verb_of(const char *name)
{
    static const char *const names[] = {"get", "get_many", "set"};
    for (int index = 0; index < 3; index++)
        if (strcmp(name, names[index]) == 0)
            return (enum verb)index;
    die("the verb must be get, get_many or set");
    return GET;
}

int main(int count, char **arguments)
{
    if (count != 9)
        die("usage: libmemcached_bench HOST PORTS VERB CALLERS BATCH KEYS VALUE_LENGTH SECONDS");
    host = arguments[1];
    ports = arguments[2];
    verb = verb_of(arguments[3]);
    callers = (size_t)atol(arguments[4]);
    batch = (size_t)atol(arguments[5]);
    key_count = (size_t)atol(arguments[6]);
    value_length = (size_t)atol(arguments[7]);
    double seconds = atof(arguments[8]);
    /* A program that hangs must not block the comparison. */
    alarm(MAX_SECONDS + (unsigned)seconds);
    raise_open_files();
    prepare_keys();
    measure(seconds);
    return 0;
}
