//! Cyclic redundancy checks, and the variants that clients use.

/// Computes the CRC-32 of the IEEE.
pub(crate) fn crc32(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

/// Bits 16 to 30 of the CRC-32: the "crc" of libmemcached, clients based on it, and python-memcached.
pub(crate) fn crc32_of_15_bits(key: &[u8]) -> u32 {
    crc32(key) >> 16 & 0x7fff
}

/// twemproxy's CRC-16: XMODEM's table, but the register keeps what is shifted out above bit 15.
pub(crate) fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0_u32, |crc, &byte| crc << 8 ^ u32::from(XMODEM[usize::from((crc >> 8) as u8 ^ byte)]))
}

const XMODEM: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue() {
        // CRC-32/ISO-HDLC and CRC-16/XMODEM of "123456789".
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc16(b"123456789") & 0xffff, 0x31c3);
    }

    #[test]
    fn crc16_keeps_the_upper_bits() {
        // After three bytes more than 16 bits have been shifted out.
        assert!(crc16(b"foo") > 0xffff);
    }
}
