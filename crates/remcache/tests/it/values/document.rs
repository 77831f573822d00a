//! Compares docs/values.md with the code.

use remcache::value::{ClientFormat, Compression, Flags, Format};

const DOCUMENT: &str = include_str!("../../../../../docs/values.md");

/// Returns the cells of every row of every table.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let lines = DOCUMENT.lines().filter(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

#[test]
fn the_numbers_of_formats_and_compressions_are_those_of_the_code() {
    let formats = [Format::Bytes, Format::Text, Format::Integer, Format::Json, Format::MessagePack, Format::Postcard];
    for format in formats {
        let number = (Flags::new(format, None).to_bits() & 0xff).to_string();
        assert!(rows().any(|row| row[0] == format.name() && row[1] == number), "{format}");
    }
    for compression in [Compression::Zstd, Compression::Lz4, Compression::Zlib, Compression::Gzip] {
        let number = (Flags::new(Format::Bytes, Some(compression)).to_bits() >> 8 & 0x7f).to_string();
        assert!(
            rows().any(|row| row.len() == 4 && row[2] == compression.to_string() && row[3] == number),
            "{compression}"
        );
    }
    assert_eq!(Flags::new(Format::Bytes, None).to_bits(), 0x7265_0000);
    let custom =
        rows().find(|row| row[0].starts_with("the application's")).expect("a row of the application's formats");
    let (first, last) = custom[1].split_once(" to ").expect("a range");
    for number in [first, last].map(|number| number.parse::<u8>().expect("a number of 8 bits")) {
        let bits = Flags::new(Format::Custom(number), None).to_bits();
        assert_eq!((bits & 0xff, bits >> 14 & 1), (u32::from(number), 1));
    }
    assert_eq!((first, last), ("0", "255"), "every number that `Codec::custom` accepts");
}

/// Exactly the flags in the table can be read.
#[test]
fn the_flags_of_client_formats_are_those_of_the_code() {
    for format in ClientFormat::ALL.iter().filter(|format| **format != ClientFormat::Gomemcache) {
        let named = named_flags(format.name());
        assert!(!named.is_empty(), "{format}");
        for flags in 0..=0xffff_u32 {
            let is_known = !matches!(
                format.decode(flags, bytes::Bytes::new()),
                Err(remcache::value::ValueError::ForeignFlags(..))
            );
            assert_eq!(is_known, named.contains(&flags), "{format}: {flags:#x}");
        }
    }
}

/// Returns the flags in the rows of a client format, without and with each compression.
fn named_flags(name: &str) -> Vec<u32> {
    let quoted = format!("`{name}`");
    let rows = rows().skip_while(|row| row[0] != quoted);
    let rows: Vec<_> = rows.enumerate().take_while(|(n, row)| *n == 0 || row[0].is_empty()).map(|it| it.1).collect();
    let forms: Vec<u32> = rows.iter().flat_map(|row| row[1].split(", ").map(number)).collect();
    let compressions = rows.iter().flat_map(|row| row[3].split("; "));
    let bits = compressions.filter_map(|text| text.split_once(':').map(|(bits, _)| number(bits)));
    bits.chain([0]).flat_map(|bits| forms.iter().map(move |form| form | bits)).collect()
}

fn number(text: &str) -> u32 {
    let digits = text.trim();
    match digits.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
        None => digits.parse().unwrap(),
    }
}
