/* libmemcached with the line protocol. */

#include <libmemcached/memcached.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys and values are short here; a line holds both as hexadecimal. */
#define LINE (1 << 20)

static char line[LINE], value[LINE / 2], hex[LINE];

static size_t unhex(const char *text, char *bytes) {
  size_t length = 0;
  unsigned byte;
  for (; sscanf(text, "%2x", &byte) == 1; text += 2) bytes[length++] = (char)byte;
  return length;
}

static const char *to_hex(const char *bytes, size_t length) {
  if (length == 0) return "-";
  for (size_t i = 0; i < length; i++) sprintf(hex + 2 * i, "%02x", (unsigned char)bytes[i]);
  return hex;
}

static void must(memcached_return_t status, const char *what) {
  if (memcached_success(status)) return;
  printf("error %s: %s\n", what, memcached_strerror(NULL, status));
  fflush(stdout);
  exit(1);
}

static void behave(memcached_st *client, memcached_behavior_t behavior, uint64_t data) {
  must(memcached_behavior_set(client, behavior, data), "behavior");
}

/* The settings of each profile. */
static void place(memcached_st *client, const char *profile) {
  if (strcmp(profile, "libmemcached") == 0) return;
  if (strcmp(profile, "libmemcached-ketama") == 0) return behave(client, MEMCACHED_BEHAVIOR_KETAMA, 1);
  if (strcmp(profile, "libmemcached-ketama-weighted") == 0)
    return behave(client, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1);
  if (strcmp(profile, "libmemcached-spy") == 0)
    return behave(client, MEMCACHED_BEHAVIOR_DISTRIBUTION, MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY);
  if (strcmp(profile, "libmemcached-spy-weighted") == 0) {
    behave(client, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1);
    return behave(client, MEMCACHED_BEHAVIOR_DISTRIBUTION, MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY);
  }
  printf("error unknown profile %s\n", profile);
  exit(1);
}

static const struct {
  const char *option;
  memcached_hash_t hash;
} HASHES[] = {
    {"hash=one_at_a_time", MEMCACHED_HASH_DEFAULT}, {"hash=md5", MEMCACHED_HASH_MD5},
    {"hash=crc32", MEMCACHED_HASH_CRC},             {"hash=fnv1_64", MEMCACHED_HASH_FNV1_64},
    {"hash=fnv1a_64", MEMCACHED_HASH_FNV1A_64},     {"hash=fnv1_32", MEMCACHED_HASH_FNV1_32},
    {"hash=fnv1a_32", MEMCACHED_HASH_FNV1A_32},     {"hash=murmur", MEMCACHED_HASH_MURMUR},
    {"hash=murmur3", MEMCACHED_HASH_MURMUR3},       {"hash=jenkins", MEMCACHED_HASH_JENKINS},
};

static void choose_hash(memcached_st *client, const char *options) {
  const char *wanted = strstr(options, "hash=");
  if (!wanted) return;
  for (size_t i = 0; i < sizeof HASHES / sizeof *HASHES; i++)
    if (strcmp(wanted, HASHES[i].option) == 0) return behave(client, MEMCACHED_BEHAVIOR_HASH, HASHES[i].hash);
  printf("error unknown %s\n", wanted);
  exit(1);
}

/* The rest of a line "config": a profile, options, servers. */
static memcached_st *open_client(char *words) {
  memcached_st *client = memcached_create(NULL);
  const char *profile = strtok(words, " \n"), *options = strtok(NULL, " \n");
  if (strstr(options, "binary")) behave(client, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 1);
  place(client, profile);
  choose_hash(client, options);
  for (char *server; (server = strtok(NULL, " \n"));) {
    char host[256];
    unsigned port, weight;
    if (sscanf(server, "%255[^:]:%u:%u", host, &port, &weight) != 3) exit(1);
    /* The library places a server without a weight differently than one with the weight 1. */
    if (strstr(options, "weights"))
      must(memcached_server_add_with_weight(client, host, (in_port_t)port, weight), "server");
    else
      must(memcached_server_add(client, host, (in_port_t)port), "server");
  }
  return client;
}

static void set(memcached_st *client, const char *key, size_t length, const char *rest) {
  size_t size = rest[0] == '-' ? 0 : unhex(rest, value);
  memcached_return_t status = memcached_set(client, key, length, value, size, 0, 0);
  if (memcached_success(status))
    puts("stored");
  else
    printf("error %s\n", memcached_last_error_message(client));
}

static void get(memcached_st *client, const char *key, size_t length) {
  size_t size;
  uint32_t flags;
  memcached_return_t status;
  char *found = memcached_get(client, key, length, &size, &flags, &status);
  if (status == MEMCACHED_NOTFOUND)
    puts("miss");
  else if (!memcached_success(status))
    printf("error %s\n", memcached_strerror(client, status));
  else
    printf("hit %s\n", to_hex(found, size));
  free(found);
}

static void route(memcached_st *client, const char *key, size_t length) {
  memcached_return_t status;
  const memcached_instance_st *server = memcached_server_by_key(client, key, length, &status);
  if (server)
    printf("server %s:%u\n", memcached_server_name(server), (unsigned)memcached_server_port(server));
  else
    printf("error %s\n", memcached_strerror(client, status));
}

int main(void) {
  memcached_st *client = NULL;
  while (fgets(line, LINE, stdin)) {
    char key[512];
    char *rest = strchr(line, ' ') + 1;
    if (strncmp(line, "config ", 7) == 0) {
      if (client) memcached_free(client);
      client = open_client(rest);
      printf("ready %s\n", memcached_lib_version());
    } else {
      char *second = strchr(rest, ' ');
      if (second) *second++ = 0;
      size_t length = unhex(rest, key);
      if (line[0] == 's') set(client, key, length, second);
      else if (line[0] == 'g') get(client, key, length);
      else if (line[0] == 'r' && line[1] == 'o') route(client, key, length);
      else puts("skip no values with a type");
    }
    fflush(stdout);
  }
  return 0;
}
