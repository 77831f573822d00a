# Dalli with the line protocol.

require 'dalli'

$stdout.sync = true

# Raised for a value or a request that this client does not support, with the reason.
class Skip < StandardError; end

TEXT = Encoding::UTF_8

class Program
  def initialize(_profile, options, *servers)
    settings = { compress: !options.include?('compress=off') }
    settings[:compressor] = Dalli::GzipCompressor if options.include?('compressor=gzip')
    @client = Dalli::Client.new(servers, settings)
    @raw = { raw: options.include?('raw') }
    @servers = servers
  end

  def set(key, value)
    @client.set(key, value, 0, raw: true) or raise 'not stored'
  end

  def get(key)
    @client.get(key, raw: true)
  end

  def route(key)
    @ring ||= build_ring
    server = @ring.server_for_key(key)
    format('%s:%d', server.hostname, server.port)
  end

  def write(key, value)
    @client.set(key, value, 0, @raw) or raise 'not stored'
  end

  def read(key)
    @client.get(key, @raw)
  end

  private

  # Dalli's ring, with servers marked as alive: the ring checks them before it returns one.
  def build_ring
    servers = @servers.map do |server|
      protocol = Dalli::Protocol::Binary.new(server, {})
      protocol.define_singleton_method(:alive?) { true }
      protocol
    end
    Dalli::Ring.new(servers, {})
  end
end

def unhex(text)
  text == '-' ? ''.b : [text].pack('H*')
end

def hex(bytes)
  bytes.empty? ? '-' : bytes.unpack1('H*')
end

FLOATS = { 'inf' => Float::INFINITY, 'nan' => Float::NAN }.freeze

def build(kind, times, value)
  case kind
  when 'text' then unhex(value).force_encoding(TEXT) * Integer(times)
  when 'bytes' then unhex(value) * Integer(times)
  when 'int' then Integer(value)
  when 'bool' then value == 'true'
  when 'float' then FLOATS.fetch(value) { Float(value) }
  when 'list' then [1, 'two', 3.0]
  when 'none' then nil
  else raise Skip, "no #{kind}"
  end
end

def describe(value)
  case value
  when nil then 'none 1 -'
  when true, false then "bool 1 #{value}"
  when Integer then "int 1 #{value}"
  when Float then "float 1 #{FLOATS.key(value) || (value.nan? ? 'nan' : value)}"
  when String then "#{text?(value) ? 'text' : 'bytes'} 1 #{hex(value)}"
  when [1, 'two', 3.0] then 'list 1 -'
  else raise "a value of the class #{value.class}"
  end
end

def text?(string)
  string.encoding == TEXT && string.valid_encoding?
end

def answer(program, word, rest)
  first, second = rest.split(' ', 2)
  key = unhex(first).force_encoding(TEXT)
  case word
  when 'set' then program.set(key, unhex(second)) && 'stored'
  when 'get' then (value = program.get(key)) ? "hit #{hex(value)}" : 'miss'
  when 'route' then "server #{program.route(key)}"
  when 'write' then program.write(key, build(*second.split(' '))) && 'stored'
  when 'read' then "value #{describe(program.read(key))}"
  end
end

program = nil
$stdin.each_line do |line|
  word, rest = line.chomp.split(' ', 2)
  begin
    if word == 'config'
      program = Program.new(*rest.split(' '))
      puts "ready #{Dalli::VERSION}"
    else
      puts answer(program, word, rest)
    end
  rescue Skip => e
    puts "skip #{e.message}"
  rescue StandardError => e
    puts "error #{e.class}: #{e.message.gsub(/\s+/, ' ')}"
  end
end
