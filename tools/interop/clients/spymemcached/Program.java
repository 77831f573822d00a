// spymemcached with the line protocol.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import net.spy.memcached.ArrayModNodeLocator;
import net.spy.memcached.CachedData;
import net.spy.memcached.ConnectionFactory;
import net.spy.memcached.DefaultConnectionFactory;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.FailureMode;
import net.spy.memcached.KetamaNodeKeyFormatter;
import net.spy.memcached.KetamaNodeLocator;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.MemcachedNode;
import net.spy.memcached.NodeLocator;
import net.spy.memcached.transcoders.SerializingTranscoder;
import net.spy.memcached.transcoders.Transcoder;
import net.spy.memcached.transcoders.WhalinTranscoder;

public final class Program {
  /** Raised for a value or a request that this client does not support, with the reason. */
  static final class Skip extends RuntimeException {
    Skip(String reason) {
      super(reason);
    }
  }

  /** Stores the bytes of a value unchanged. */
  static final Transcoder<byte[]> RAW = new Transcoder<byte[]>() {
    public boolean asyncDecode(CachedData data) {
      return false;
    }

    public CachedData encode(byte[] value) {
      return new CachedData(0, value, CachedData.MAX_SIZE);
    }

    public byte[] decode(CachedData data) {
      return data.getData();
    }

    public int getMaxSize() {
      return CachedData.MAX_SIZE;
    }
  };

  private final MemcachedClient client;

  Program(String profile, String options, List<String> servers) throws Exception {
    List<InetSocketAddress> addresses = new ArrayList<>();
    Map<InetSocketAddress, Integer> weights = new HashMap<>();
    for (String server : servers) {
      String[] parts = server.split(":");
      // Created from a numeric address, so that no host name is resolved.
      InetSocketAddress address = new InetSocketAddress(parts[0], Integer.parseInt(parts[1]));
      addresses.add(address);
      weights.put(address, Integer.parseInt(parts[2]));
    }
    boolean weighted = profile.endsWith("-weighted");
    Map<InetSocketAddress, Integer> known = weighted ? weights : new HashMap<>();
    client = new MemcachedClient(factory(profile, hash(profile, options), known, transcoder(options)), addresses);
  }

  static Transcoder<Object> transcoder(String options) {
    return options.equals("transcoder=whalin") ? new WhalinTranscoder() : new SerializingTranscoder();
  }

  static final Map<String, DefaultHashAlgorithm> HASHES = Map.of(
      "java", DefaultHashAlgorithm.NATIVE_HASH, "crc32", DefaultHashAlgorithm.CRC_HASH,
      "fnv1_64", DefaultHashAlgorithm.FNV1_64_HASH, "fnv1a_64", DefaultHashAlgorithm.FNV1A_64_HASH,
      "fnv1_32", DefaultHashAlgorithm.FNV1_32_HASH, "fnv1a_32", DefaultHashAlgorithm.FNV1A_32_HASH,
      "md5", DefaultHashAlgorithm.KETAMA_HASH);

  static DefaultHashAlgorithm hash(String profile, String options) {
    if (options.startsWith("hash=")) {
      return HASHES.get(options.substring("hash=".length()));
    }
    return profile.equals("spymemcached") ? DefaultHashAlgorithm.NATIVE_HASH : DefaultHashAlgorithm.KETAMA_HASH;
  }

  static ConnectionFactory factory(
      String profile,
      DefaultHashAlgorithm hash,
      Map<InetSocketAddress, Integer> weights,
      Transcoder<Object> transcoder) {
    boolean ring = !profile.equals("spymemcached");
    KetamaNodeKeyFormatter.Format format = profile.endsWith("-libmemcached")
        ? KetamaNodeKeyFormatter.Format.LIBMEMCACHED
        : KetamaNodeKeyFormatter.Format.SPYMEMCACHED;
    return new DefaultConnectionFactory(4096, 1 << 16, hash) {
      @Override
      public NodeLocator createLocator(List<MemcachedNode> nodes) {
        return ring ? new KetamaNodeLocator(nodes, hash, format, weights) : new ArrayModNodeLocator(nodes, hash);
      }

      @Override
      public Transcoder<Object> getDefaultTranscoder() {
        return transcoder;
      }

      @Override
      public FailureMode getFailureMode() {
        return FailureMode.Retry;
      }

      @Override
      public long getOperationTimeout() {
        return 20_000;
      }

      @Override
      public boolean isDaemon() {
        return true;
      }
    };
  }

  String answer(String word, String rest) throws Exception {
    String[] parts = rest.split(" ", 2);
    String key = new String(unhex(parts[0]), StandardCharsets.UTF_8);
    switch (word) {
      case "set":
        must(client.set(key, 0, unhex(parts[1]), RAW).get());
        return "stored";
      case "get":
        byte[] value = client.get(key, RAW);
        return value == null ? "miss" : "hit " + hex(value);
      case "route":
        InetSocketAddress address = (InetSocketAddress) client.getNodeLocator().getPrimary(key).getSocketAddress();
        return "server " + address.getHostString() + ":" + address.getPort();
      case "write":
        must(client.set(key, 0, build(parts[1].split(" "))).get());
        return "stored";
      case "read":
        return "value " + describe(client.get(key));
      default:
        throw new Skip("no " + word);
    }
  }

  static void must(boolean done) {
    if (!done) {
      throw new IllegalStateException("not stored");
    }
  }

  static Object build(String[] description) {
    String value = description[2];
    int times = Integer.parseInt(description[1]);
    switch (description[0]) {
      case "text":
        return new String(unhex(value), StandardCharsets.UTF_8).repeat(times);
      case "bytes":
        return unhex(value.equals("-") ? value : value.repeat(times));
      case "int":
        return integer(value);
      case "bool":
        return Boolean.valueOf(value);
      case "float":
        return number(value);
      case "long":
        return Long.valueOf(value);
      case "byte":
        return Byte.valueOf(value);
      case "float32":
        return Float.valueOf(value);
      case "date":
        return new Date(Long.parseLong(value));
      case "list":
        return new ArrayList<Object>(Arrays.asList(1, "two", 3.0));
      default:
        throw new Skip("no " + description[0]);
    }
  }

  static Integer integer(String value) {
    try {
      return Integer.valueOf(value);
    } catch (NumberFormatException error) {
      throw new Skip("an int has 32 bits");
    }
  }

  static Double number(String value) {
    switch (value) {
      case "inf":
        return Double.POSITIVE_INFINITY;
      case "nan":
        return Double.NaN;
      default:
        return Double.valueOf(value);
    }
  }

  static String describe(Object value) {
    if (value == null) {
      return "none 1 -";
    } else if (value instanceof String) {
      return "text 1 " + hex(((String) value).getBytes(StandardCharsets.UTF_8));
    } else if (value instanceof byte[]) {
      return "bytes 1 " + hex((byte[]) value);
    } else if (value instanceof Date) {
      return "date 1 " + ((Date) value).getTime();
    } else if (value instanceof List) {
      return "list 1 -";
    } else if (value instanceof Double && ((Double) value).isInfinite()) {
      return "float 1 inf";
    }
    return NAMES.get(value.getClass()) + " 1 " + value.toString().toLowerCase();
  }

  static final Map<Class<?>, String> NAMES = Map.of(
      Boolean.class, "bool", Integer.class, "int", Long.class, "long", Byte.class, "byte",
      Float.class, "float32", Double.class, "float");

  static byte[] unhex(String text) {
    return text.equals("-") ? new byte[0] : HexFormat.of().parseHex(text);
  }

  static String hex(byte[] bytes) {
    return bytes.length == 0 ? "-" : HexFormat.of().formatHex(bytes);
  }

  public static void main(String[] args) throws Exception {
    // The library may log to the standard output, which is for replies.
    PrintStream out = System.out;
    System.setOut(System.err);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    Program program = null;
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ", 2);
      String answer;
      try {
        if (words[0].equals("config")) {
          if (program != null) {
            program.client.shutdown();
          }
          List<String> parts = Arrays.asList(words[1].split(" "));
          program = new Program(parts.get(0), parts.get(1), parts.subList(2, parts.size()));
          answer = "ready " + System.getProperty("client.version");
        } else {
          answer = program.answer(words[0], words[1]);
        }
      } catch (Skip reason) {
        answer = "skip " + reason.getMessage();
      } catch (Exception error) {
        answer = "error " + error.toString().replaceAll("\\s+", " ");
      }
      out.print(answer + "\n");
      out.flush();
    }
    System.exit(0);
  }
}
