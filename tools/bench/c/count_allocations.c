/* Counts the calls to the allocator and the allocated bytes of the process that it is preloaded into, in a shared file.
 *
 * It is not preloaded in timed rounds.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

struct counters {
    uint64_t calls;
    int64_t live_bytes;
};

/* Used until the constructor has run; never read. */
static struct counters initial;
static struct counters *counters = &initial;

static void *count_call(void *memory)
{
    __atomic_fetch_add(&counters->calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->live_bytes, (int64_t)malloc_usable_size(memory), __ATOMIC_RELAXED);
    return memory;
}

static void count_freed(size_t size)
{
    __atomic_fetch_sub(&counters->live_bytes, (int64_t)size, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void share_counters(void)
{
    const char *path = getenv("REMCACHE_BENCH_ALLOCATIONS");
    if (path == NULL)
        return;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return;
    if (ftruncate(file, sizeof *counters) == 0) {
        void *shared = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED)
            counters = shared;
    }
    close(file);
}

void *malloc(size_t size)
{
    return count_call(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return count_call(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    size_t before = malloc_usable_size(memory);
    void *moved = __libc_realloc(memory, size);
    /* A failed call does not free the old memory; a size of 0 does. */
    if (moved != NULL || size == 0)
        count_freed(before);
    return count_call(moved);
}

void free(void *memory)
{
    count_freed(malloc_usable_size(memory));
    __libc_free(memory);
}

void *memalign(size_t alignment, size_t size)
{
    return count_call(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *allocated = memalign(alignment, size);
    if (allocated == NULL)
        return ENOMEM;
    *memory = allocated;
    return 0;
}
