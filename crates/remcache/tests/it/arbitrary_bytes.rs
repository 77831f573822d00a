//! Arbitrary bytes cause no panic: the bodies of the fuzz targets, with random data.
//!
//! `tools/fuzz/` runs the same code with coverage feedback.

mod connection;
mod handshake;
mod lines;
mod protocols;
mod replies;
mod requests;

use fastrand::Rng;
use remcache_testkit::seed;

/// Returns random bytes; half of the packets in them have a plausible header.
fn bytes(rng: &mut Rng, magic: u8) -> Vec<u8> {
    let mut bytes = vec![rng.u8(..)];
    for _ in 0..rng.usize(..6) {
        bytes.extend(packet(rng, magic));
        if rng.u8(..) < 20 {
            let length = rng.usize(..60);
            bytes.extend(garbage(rng, length));
        }
    }
    let length = if rng.bool() { bytes.len() } else { rng.usize(..=bytes.len()) };
    bytes.truncate(length);
    bytes
}

fn packet(rng: &mut Rng, magic: u8) -> Vec<u8> {
    let extras = [0, 4, 8, 20, rng.u8(..)][rng.usize(..5)];
    let key = rng.u8(..40);
    let value = if rng.u8(..) < 20 { rng.u16(..20_000) } else { rng.u16(..60) };
    let body = u32::from(extras) + u32::from(key) + u32::from(value);
    let mut packet = garbage(rng, 24 + body as usize);
    packet[0] = magic;
    packet[1] = rng.u8(..0x26);
    packet[2..4].copy_from_slice(&u16::from(key).to_be_bytes());
    packet[4] = extras;
    packet[6..8].copy_from_slice(&rng.u16(..3).to_be_bytes());
    packet[8..12].copy_from_slice(&body.to_be_bytes());
    if rng.u8(..) < 10 {
        packet[rng.usize(..24)] = rng.u8(..);
    }
    packet
}

fn garbage(rng: &mut Rng, length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

#[test]
fn any_bytes_are_decoded_as_replies() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..20_000 {
        replies::run(&bytes(&mut rng, 0x81));
    }
}

#[test]
fn any_bytes_are_decoded_as_requests() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..20_000 {
        let data = bytes(&mut rng, 0x80);
        requests::run(data.get(1..).unwrap_or_default());
    }
}

/// Returns a script of replies to a connecting client, some of them garbage or truncated.
fn random_handshake(rng: &mut Rng) -> Vec<u8> {
    const PIECES: &[&[u8]] = &[
        b"VERSION 1.6.18\r\n",
        b"VERSION 1.4.39\r\n",
        b"VERSION 1.6.18\r\nMN\r\nMN\r\nVERSION 1.6.18\r\n",
        b"ERROR\r\nERROR\r\nERROR\r\nERROR\r\n",
        b"CLIENT_ERROR unauthenticated\r\n",
        b"CLIENT_ERROR authentication failure\r\n",
        b"STORED\r\nVERSION 1.6.18\r\n",
        b"STORED\r\n",
        b"ERROR Too many open connections\r\n",
        b"END\r\n",
        b"EN\r\n",
        b"",
    ];
    let mut script = vec![rng.u8(..)];
    for _ in 0..rng.usize(..8) {
        let piece = match rng.u8(..4) {
            0 => packet(rng, 0x81),
            1 => {
                let length = rng.usize(..40);
                garbage(rng, length)
            }
            _ => PIECES[rng.usize(..PIECES.len())].to_vec(),
        };
        let cut = if rng.u8(..) < 20 { rng.usize(..=piece.len()) } else { piece.len() };
        script.push(u8::try_from(cut.min(254)).expect("at most 254"));
        script.extend(&piece[..cut.min(254)]);
    }
    script
}

#[test]
fn any_bytes_are_a_handshake() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..3_000 {
        handshake::run(&random_handshake(&mut rng));
    }
}

#[test]
fn any_script_runs_on_a_connection() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..20_000 {
        let length = rng.usize(..400);
        connection::run(&garbage(&mut rng, length));
    }
}

/// Returns random lines of tokens that servers send, and some garbage.
fn random_lines(rng: &mut Rng) -> Vec<u8> {
    const PIECES: &[&str] = &[
        "HD",
        "VA",
        "EN",
        "NF",
        "NS",
        "EX",
        "MN",
        "ME",
        "VALUE",
        "END",
        "STORED",
        "NOT_FOUND",
        "STAT",
        "OK",
        "ERROR",
        "CLIENT_ERROR",
        "SERVER_ERROR",
        "VERSION",
        "CONFIG",
        "mg",
        "key=a%20",
        "exp=-1",
        "k",
        "b",
        "kYQ==",
        "0",
        "1",
        "2",
        "5",
        "70000",
        "18446744073709551616",
        "f7",
        "c9",
        "t-1",
        "W",
        "Z",
        "O00000007",
        "Oxyz",
        "\r\nab\r\n",
        "\r\nEND",
    ];
    let mut bytes = vec![rng.u8(..), rng.u8(..)];
    for _ in 0..rng.usize(..6) {
        for _ in 0..rng.usize(..5) {
            bytes.extend(PIECES[rng.usize(..PIECES.len())].as_bytes());
            bytes.push(b' ');
        }
        bytes.extend(b"\r\n");
        if rng.u8(..) < 20 {
            let length = rng.usize(..9_000);
            bytes.extend(garbage(rng, length));
        }
    }
    bytes
}

#[test]
fn any_bytes_are_decoded_as_lines() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..20_000 {
        lines::run(&random_lines(&mut rng));
    }
}

#[test]
fn any_script_runs_on_each_protocol() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..20_000 {
        let length = rng.usize(..400);
        protocols::run(&garbage(&mut rng, length));
    }
}
