/* libmemcached as a contestant: a thread and a handle for each caller, and one line of JSON at the end.
 *
 * It takes the scenario as arguments, and does what the children in Rust do: the same keys in the same order,
 * the same check of each value, the same warm-up, the same way to time every n-th turn.
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
    SECONDS_TO_END = 120,
    LATENCIES_PER_SECOND = 50000,
    FAULTS_TO_GIVE_UP = 100,
    LANE_STRIDE = 104729,
    TURN_STRIDE = 7919,
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

/* What all callers share; see course.rs for the words. */
static _Atomic uint32_t pace;
static _Atomic uint64_t latencies[BUCKETS];
static _Atomic uint64_t wrong, failed;
static _Atomic int first_fault; /* a memcached_return_t */
static char (*keys)[KEY_SIZE];
/* Starting thousands of threads among running ones takes seconds: all start together. */
static pthread_barrier_t start_line;

struct lane {
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
    /* Above the exact ones a bucket's index holds its leading one, hence one shift less. */
    shift = shift > 0 ? shift - 1 : 0;
    uint64_t leading = bucket - (shift << BUCKET_BITS);
    return (double)(leading << shift) / 1000.0;
}

static uint64_t timed_turns(void)
{
    uint64_t total = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++)
        total += latencies[bucket];
    return total;
}

static double quantile(double fraction)
{
    uint64_t total = timed_turns(), seen = 0;
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

static bool settle(bool right, memcached_return_t status)
{
    if (right)
        return true;
    bool is_answer = status == MEMCACHED_SUCCESS || status == MEMCACHED_NOTFOUND || status == MEMCACHED_END;
    atomic_fetch_add(is_answer ? &wrong : &failed, 1);
    int none = MEMCACHED_SUCCESS;
    atomic_compare_exchange_strong(&first_fault, &none, (int)status);
    return false;
}

static bool get(struct lane *lane, const char *key)
{
    size_t key_length = strlen(key), length;
    uint32_t flags;
    memcached_return_t status;
    char *value = memcached_get(lane->handle, key, key_length, &length, &flags, &status);
    bool right = value != NULL && is_value_of(key, key_length, value, length);
    free(value);
    return settle(right, status);
}

static bool get_many(struct lane *lane, size_t from)
{
    for (size_t index = 0; index < batch; index++) {
        lane->batch_keys[index] = keys[(from + index) % key_count];
        lane->batch_lengths[index] = strlen(lane->batch_keys[index]);
    }
    memcached_return_t status = memcached_mget(lane->handle, lane->batch_keys, lane->batch_lengths, batch);
    size_t right = 0;
    memcached_result_st result;
    memcached_result_create(lane->handle, &result);
    while (memcached_fetch_result(lane->handle, &result, &status) != NULL)
        right += is_value_of(memcached_result_key_value(&result), memcached_result_key_length(&result),
                             memcached_result_value(&result), memcached_result_length(&result));
    memcached_result_free(&result);
    return settle(right == batch, status);
}

static bool set(struct lane *lane, const char *key)
{
    size_t key_length = strlen(key);
    memcpy(lane->value, key, key_length);
    memcpy(lane->value + value_length - key_length, key, key_length);
    memcached_return_t status = memcached_set(lane->handle, key, key_length, lane->value, value_length, 0, 0);
    return settle(status == MEMCACHED_SUCCESS, status);
}

static bool turn(struct lane *lane, size_t from)
{
    switch (verb) {
    case GET:
        return get(lane, keys[from]);
    case GET_MANY:
        return get_many(lane, from);
    case SET:
        return set(lane, keys[from]);
    }
    return false;
}

static void *run(void *argument)
{
    struct lane *lane = argument;
    pthread_barrier_wait(&start_line);
    size_t next = lane->number * LANE_STRIDE % key_count;
    uint32_t until_timed = 1, now, faults_in_a_row = 0;
    uint64_t ops = 0;
    while ((now = atomic_load_explicit(&pace, memory_order_relaxed)) != STOP && faults_in_a_row < FAULTS_TO_GIVE_UP) {
        bool timed = now != WARM_UP && (until_timed <= 1 || --until_timed == 0);
        if (timed)
            until_timed = now;
        uint64_t start = timed ? nanos(CLOCK_MONOTONIC) : 0;
        size_t from = next;
        next = (next + TURN_STRIDE) % key_count;
        if (!turn(lane, from)) {
            faults_in_a_row++;
            continue;
        }
        faults_in_a_row = 0;
        ops += batch;
        atomic_store_explicit(&lane->ops, ops, memory_order_relaxed);
        if (timed)
            atomic_fetch_add(&latencies[bucket_of(nanos(CLOCK_MONOTONIC) - start)], 1);
    }
    return NULL;
}

static void connect_lane(struct lane *lane)
{
    lane->handle = memcached_create(NULL);
    memcached_behavior_set(lane->handle, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
    char *list = strdup(ports), *rest = NULL;
    for (char *port = strtok_r(list, ",", &rest); port != NULL; port = strtok_r(NULL, ",", &rest))
        if (memcached_server_add(lane->handle, host, (in_port_t)atoi(port)) != MEMCACHED_SUCCESS)
            die("memcached_server_add failed");
    free(list);
    lane->batch_keys = calloc(batch, sizeof *lane->batch_keys);
    lane->batch_lengths = calloc(batch, sizeof *lane->batch_lengths);
    if (verb == SET) {
        lane->value = malloc(value_length);
        memset(lane->value, '.', value_length);
    }
    /* The library connects when it is first used; that belongs to nobody's measured part. */
    memcached_return_t status = memcached_version(lane->handle);
    if (status != MEMCACHED_SUCCESS)
        die(memcached_strerror(lane->handle, status));
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
        die("a mark's path exists");
    if (perf_control < 0)
        return;
    char answer[5];
    if (write(perf_control, command, strlen(command)) < 0 || read(perf_acknowledged, answer, sizeof answer) < 0)
        die("perf does not answer");
}

static bool allocations(uint64_t *count)
{
    const char *path = getenv("REMCACHE_BENCH_ALLOCATIONS");
    if (path == NULL)
        return false;
    int file = open(path, O_RDONLY);
    bool whole = file >= 0 && read(file, count, sizeof *count) == (ssize_t)sizeof *count;
    if (file >= 0)
        close(file);
    return whole;
}

/* ---- the whole ---- */

struct snapshot {
    uint64_t at, cpu, ops, allocations;
    bool counted;
};

static uint64_t total_ops(struct lane *lanes)
{
    uint64_t total = 0;
    for (size_t number = 0; number < callers; number++)
        total += lanes[number].ops;
    return total;
}

static struct snapshot take_snapshot(struct lane *lanes)
{
    struct snapshot taken = {0};
    taken.counted = allocations(&taken.allocations);
    taken.at = nanos(CLOCK_MONOTONIC);
    taken.cpu = nanos(CLOCK_PROCESS_CPUTIME_ID);
    taken.ops = total_ops(lanes);
    return taken;
}

static void print_report(struct lane *lanes, struct snapshot begin, struct snapshot end)
{
    printf("{\"ops\":%" PRIu64 ",\"claimed\":%" PRIu64, end.ops - begin.ops, total_ops(lanes));
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

static pthread_t *start_threads(struct lane *lanes)
{
    pthread_t *threads = calloc(callers, sizeof *threads);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    pthread_barrier_init(&start_line, NULL, (unsigned)callers + 1);
    for (size_t number = 0; number < callers; number++)
        if (pthread_create(&threads[number], &attributes, run, &lanes[number]) != 0)
            die("a thread cannot be started");
    pthread_barrier_wait(&start_line);
    return threads;
}

/* On a busy machine a short part may be over before a turn is; a rate and a latency need one. The alarm ends it. */
static void await_a_turn(void)
{
    while (timed_turns() + wrong + failed == 0)
        usleep(1000);
}

static void measure(double seconds)
{
    struct lane *lanes = aligned_alloc(_Alignof(struct lane), callers * sizeof *lanes);
    memset(lanes, 0, callers * sizeof *lanes);
    for (size_t number = 0; number < callers; number++) {
        lanes[number].number = number;
        connect_lane(&lanes[number]);
    }
    open_probe();
    pthread_t *threads = start_threads(lanes);
    usleep(WARM_UP_MICROS / 2);
    struct snapshot halfway = take_snapshot(lanes);
    usleep(WARM_UP_MICROS / 2);
    mark("/remcache-bench-begin", "enable\n");
    struct snapshot begin = take_snapshot(lanes);
    double rate = (double)(begin.ops - halfway.ops) * 1e9 / (double)(begin.at - halfway.at);
    atomic_store(&pace, 1 + (uint32_t)(rate / LATENCIES_PER_SECOND));
    usleep((useconds_t)(seconds * 1e6));
    await_a_turn();
    struct snapshot end = take_snapshot(lanes);
    mark("/remcache-bench-end", "disable\n");
    atomic_store(&pace, STOP);
    for (size_t number = 0; number < callers; number++)
        pthread_join(threads[number], NULL);
    print_report(lanes, begin, end);
}

static enum verb verb_of(const char *name)
{
    static const char *const names[] = {"get", "get_many", "set"};
    for (int index = 0; index < 3; index++)
        if (strcmp(name, names[index]) == 0)
            return (enum verb)index;
    die("the verb is get, get_many or set");
    return GET;
}

int main(int count, char **arguments)
{
    if (count != 9)
        die("host ports verb callers batch keys value_length seconds");
    host = arguments[1];
    ports = arguments[2];
    verb = verb_of(arguments[3]);
    callers = (size_t)atol(arguments[4]);
    batch = (size_t)atol(arguments[5]);
    key_count = (size_t)atol(arguments[6]);
    value_length = (size_t)atol(arguments[7]);
    double seconds = atof(arguments[8]);
    /* A program that hangs must not hold up the whole comparison. */
    alarm(SECONDS_TO_END + (unsigned)seconds);
    raise_open_files();
    prepare_keys();
    measure(seconds);
    return 0;
}
