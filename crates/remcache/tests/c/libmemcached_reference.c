/* Where libmemcached puts keys: the reference that ketama_libmemcached.rs compares with.
 *
 * Reads commands, a line each, from standard input:
 *   key LENGTH           appends a key to the list; LENGTH bytes and a newline follow
 *   begin                starts an empty list of servers
 *   tcp HOST PORT WEIGHT adds a server
 *   unix PATH WEIGHT     adds a server
 *   set BEHAVIOR VALUE   sets a behavior, both as numbers; before or after the servers
 *   locate FROM TO       writes the server of each key of that range: one byte, its index
 * Anything unexpected ends the program with a message and the status 1.
 */
#include <libmemcached/memcached.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEYS = 200000, MAX_KEY_LEN = 250, MAX_SERVERS = 256 };

static struct { unsigned char bytes[MAX_KEY_LEN]; size_t len; } keys[MAX_KEYS];
static size_t key_count;
static memcached_st *client;

static void fail(const char *what) {
  fprintf(stderr, "libmemcached_reference: %s\n", what);
  exit(1);
}

static void check(memcached_return_t outcome) {
  if (outcome != MEMCACHED_SUCCESS) fail(memcached_strerror(client, outcome));
}

static void read_key(size_t len) {
  if (key_count == MAX_KEYS || len > MAX_KEY_LEN) fail("too many keys, or too long a key");
  if (fread(keys[key_count].bytes, 1, len, stdin) != len || getchar() != '\n') fail("a key is cut");
  keys[key_count++].len = len;
}

static void begin(void) {
  if (client) memcached_free(client);
  client = memcached_create(NULL);
  if (!client) fail("out of memory");
}

static void locate(size_t from, size_t to) {
  if (from > to || to > key_count || memcached_server_count(client) > MAX_SERVERS) fail("bad range");
  for (size_t at = from; at < to; at++)
    putchar((int) memcached_generate_hash(client, (const char *) keys[at].bytes, keys[at].len));
  fflush(stdout);
}

int main(void) {
  char line[2048], name[1024];
  size_t a, b;
  unsigned port, weight;
  begin();
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "key %zu", &a) == 1) read_key(a);
    else if (strcmp(line, "begin\n") == 0) begin();
    else if (sscanf(line, "tcp %1023s %u %u", name, &port, &weight) == 3)
      check(memcached_server_add_with_weight(client, name, (in_port_t) port, weight));
    else if (sscanf(line, "unix %1023s %u", name, &weight) == 2)
      check(memcached_server_add_unix_socket_with_weight(client, name, weight));
    else if (sscanf(line, "set %u %zu", &port, &a) == 2)
      check(memcached_behavior_set(client, (memcached_behavior_t) port, a));
    else if (sscanf(line, "locate %zu %zu", &a, &b) == 2) locate(a, b);
    else fail(line);
  }
  return 0;
}
