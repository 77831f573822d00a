<?php
// php-memcached with the line protocol.

ini_set('display_errors', 'stderr');
set_error_handler(function ($level, $message) { throw new RuntimeException($message); });

/** Raised for a value or a request that this client does not support, with the reason. */
class Skip extends Exception {}

const COMPRESSIONS = ['fastlz' => Memcached::COMPRESSION_FASTLZ, 'zlib' => Memcached::COMPRESSION_ZLIB];
const SERIALIZERS = [
    'php' => Memcached::SERIALIZER_PHP,
    'igbinary' => Memcached::SERIALIZER_IGBINARY,
    'json' => Memcached::SERIALIZER_JSON,
    'msgpack' => Memcached::SERIALIZER_MSGPACK,
];

function open_client(string $profile, string $options, string ...$servers): Memcached
{
    parse_str(strtr($options, ',', '&'), $options);
    $client = new Memcached();
    $client->setOption(Memcached::OPT_BINARY_PROTOCOL, isset($options['binary']));
    foreach (placement($profile) as $option => $value) {
        $client->setOption($option, $value);
    }
    $compression = $options['compression'] ?? 'fastlz';
    $client->setOption(Memcached::OPT_COMPRESSION, $compression !== 'off');
    if (isset(COMPRESSIONS[$compression])) {
        $client->setOption(Memcached::OPT_COMPRESSION_TYPE, COMPRESSIONS[$compression]);
    }
    $client->setOption(Memcached::OPT_SERIALIZER, SERIALIZERS[$options['serializer'] ?? 'php']);
    // libmemcached places servers without weights differently.
    foreach ($servers as $server) {
        [$host, $port, $weight] = explode(':', $server);
        must($client, $client->addServer($host, (int) $port, (int) $weight));
    }
    return $client;
}

function placement(string $profile): array
{
    return match ($profile) {
        'php-memcached' => [],
        'php-memcached-consistent' => [Memcached::OPT_DISTRIBUTION => Memcached::DISTRIBUTION_CONSISTENT],
        'php-memcached-ketama' => [Memcached::OPT_LIBKETAMA_COMPATIBLE => true],
    };
}

function build(string $kind, string $times, string $value)
{
    switch ($kind) {
        case 'text':
        case 'bytes': return str_repeat(unhex($value), (int) $times);
        case 'int':
            $number = (int) $value;
            if ((string) $number !== $value) {
                throw new Skip('an int has 64 bits');
            }
            return $number;
        case 'bool': return $value === 'true';
        case 'float': return ['inf' => INF, 'nan' => NAN][$value] ?? (float) $value;
        case 'list': return [1, 'two', 3.0];
        case 'none': return null;
        default: throw new Skip("no $kind");
    }
}

function describe($value): string
{
    return match (true) {
        $value === null => 'none 1 -',
        is_bool($value) => 'bool 1 ' . ($value ? 'true' : 'false'),
        is_int($value) => "int 1 $value",
        is_float($value) => 'float 1 ' . strtolower(var_export($value, true)),
        // A string is bytes in PHP.
        is_string($value) => 'bytes 1 ' . hex($value),
        $value == [1, 'two', 3.0] => 'list 1 -',
    };
}

function unhex(string $text): string
{
    return $text === '-' ? '' : hex2bin($text);
}

function hex(string $bytes): string
{
    return $bytes === '' ? '-' : bin2hex($bytes);
}

function must(Memcached $client, bool $done): void
{
    if (!$done) {
        throw new RuntimeException($client->getResultMessage());
    }
}

function fetch(Memcached $client, string $key)
{
    $value = $client->get($key);
    $code = $client->getResultCode();
    if ($code !== Memcached::RES_SUCCESS && $code !== Memcached::RES_NOTFOUND) {
        must($client, false);
    }
    return [$code === Memcached::RES_SUCCESS, $value];
}

function answer(Memcached $client, string $word, string $rest): string
{
    [$key, $more] = explode(' ', $rest, 2) + [1 => ''];
    $key = hex2bin($key);
    switch ($word) {
        case 'set':
            must($client, $client->set($key, unhex($more)));
            return 'stored';
        case 'get':
            [$found, $value] = fetch($client, $key);
            return $found ? 'hit ' . hex($value) : 'miss';
        case 'route':
            $server = $client->getServerByKey($key);
            must($client, $server !== false);
            return "server {$server['host']}:{$server['port']}";
        case 'write':
            must($client, $client->set($key, build(...explode(' ', $more))));
            return 'stored';
        case 'read':
            [$found, $value] = fetch($client, $key);
            return $found ? 'value ' . describe($value) : 'miss';
    }
}

$client = null;
while (($line = fgets(STDIN)) !== false) {
    [$word, $rest] = explode(' ', rtrim($line, "\n"), 2);
    try {
        if ($word === 'config') {
            $client = open_client(...explode(' ', $rest));
            $answer = 'ready ' . phpversion('memcached');
        } else {
            $answer = answer($client, $word, $rest);
        }
    } catch (Skip $reason) {
        $answer = 'skip ' . $reason->getMessage();
    } catch (Throwable $error) {
        $answer = 'error ' . get_class($error) . ': ' . preg_replace('/\s+/', ' ', $error->getMessage());
    }
    fwrite(STDOUT, $answer . "\n");
}
