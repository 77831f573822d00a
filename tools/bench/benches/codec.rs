//! Measures the codec and the connection state machine, per request: `cargo bench -p remcache-bench`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Buf;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use remcache::proto::binary::{self, Opcode};
use remcache::proto::{
    Connection, Deadline, InputBuffer, Limits, Operation, Output, Reply, ReplyShape, Request, ServerVersion, Status,
    Tag, meta, text,
};

const VALUE: [u8; 100] = [b'v'; 100];

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    for (name, request) in [
        ("get", Request::get("key-00042")),
        ("set of 100 bytes", Request::set("key-00042", &VALUE)),
        ("increment", Request::increment("key-00042", 1).initial(0)),
    ] {
        let mut output = Output::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                binary::encode(black_box(&request), 7, &mut output).expect("the request is valid");
                output.advance(output.remaining());
            });
        });
    }
}

fn encode_lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode lines");
    group.throughput(Throughput::Elements(1));
    for (name, request) in [("get", Request::get("key-00042")), ("set of 100 bytes", Request::set("key-00042", &VALUE))]
    {
        let mut output = Output::new();
        group.bench_function(format!("meta {name}"), |bencher| {
            bencher.iter(|| {
                meta::encode(black_box(&request), 7, ServerVersion::default(), &mut output)
                    .expect("the request is valid");
                output.advance(output.remaining());
            });
        });
        group.bench_function(format!("text {name}"), |bencher| {
            bencher.iter(|| {
                text::encode(black_box(&request), &mut output).expect("the request is valid");
                output.advance(output.remaining());
            });
        });
    }
}

fn decode_lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode lines");
    group.throughput(Throughput::Elements(1));
    let hit = |head: &[u8], end: &[u8]| [head, &VALUE, end].concat();
    let (get, set) = (ReplyShape::new(Operation::Get), ReplyShape::new(Operation::Set));
    let mut input = InputBuffer::new();
    for (name, bytes, expected) in [
        ("hit of 100 bytes", hit(b"VA 100 f0 c42 O00000007\r\n", b"\r\n"), get),
        ("stored", b"HD c42 O00000007\r\n".to_vec(), set),
    ] {
        group.bench_function(format!("meta {name}"), |bencher| {
            bencher.iter(|| {
                input.spare_capacity().extend_from_slice(black_box(&bytes));
                meta::decode(&mut input, expected, 1 << 20).expect("the reply is valid")
            });
        });
    }
    for (name, bytes, expected) in [
        ("hit of 100 bytes", hit(b"VALUE key-00042 0 100 42\r\n", b"\r\nEND\r\n"), get),
        ("stored", b"STORED\r\n".to_vec(), set),
    ] {
        group.bench_function(format!("text {name}"), |bencher| {
            bencher.iter(|| {
                input.spare_capacity().extend_from_slice(black_box(&bytes));
                text::decode(&mut input, expected, 1 << 20).expect("the reply is valid")
            });
        });
    }
}

fn reply_bytes(opaque: u32) -> Vec<u8> {
    let reply = Reply::with_text(Status::NoError, VALUE.to_vec());
    let mut output = Output::new();
    binary::encode_reply(&reply, Opcode::GET, opaque, &mut output);
    output.small().to_vec()
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let bytes = reply_bytes(7);
    let mut input = InputBuffer::new();
    group.bench_function("hit of 100 bytes", |bencher| {
        bencher.iter(|| {
            input.spare_capacity().extend_from_slice(black_box(&bytes));
            binary::decode(&mut input, 1 << 20).expect("the reply is valid")
        });
    });
}

fn connection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection");
    group.throughput(Throughput::Elements(64));
    let now = Instant::now();
    let deadline = Deadline { at: now + Duration::from_secs(3600), extend_by: Duration::ZERO };
    let mut connection = Connection::new(Limits::default(), 0, now);
    let (mut output, mut input) = (Output::new(), InputBuffer::new());
    let mut replies = reply_bytes(0);
    let mut opaque = 0_u32;
    group.bench_function("64 gets submitted, sent, answered", |bencher| {
        bencher.iter(|| {
            for tag in 0..64 {
                let submitted = connection.submit(&Request::get("key-00042"), Some(Tag(tag)), deadline, now);
                submitted.expect("the limits leave room");
            }
            connection.take_output(&mut output);
            connection.handle_written(output.remaining());
            output.advance(output.remaining());
            for _ in 0..64 {
                replies[12..16].copy_from_slice(&opaque.to_be_bytes());
                opaque = opaque.wrapping_add(1);
                input.spare_capacity().extend_from_slice(&replies);
            }
            while let Some(event) = connection.poll_event(&mut input).expect("the replies are valid") {
                black_box(event);
            }
        });
    });
}

criterion_group!(benches, encode, decode, encode_lines, decode_lines, connection);
criterion_main!(benches);
