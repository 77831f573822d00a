//! A natural logarithm that is the same on every machine.
//!
//! `f64::ln` is the system's, and systems differ in its last bit; two clients that should agree may be on two systems.
//! Sums, products and quotients are exact in the sense of IEEE 754 everywhere, so this is made of nothing else.

/// The natural logarithm of a positive number that is not subnormal.
pub(super) fn natural(number: f64) -> f64 {
    let bits = number.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits(bits & MANTISSA | ONE);
    // From 1..2 to a range around 1, where the series converges fast.
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    f64::from(exponent) * std::f64::consts::LN_2 + near_one(mantissa)
}

/// ln m = 2 (s + s³/3 + s⁵/5 + …) with s = (m - 1) / (m + 1).
fn near_one(mantissa: f64) -> f64 {
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let sum = (0..=TERMS).rev().fold(0.0, |sum, term| sum * square + 1.0 / f64::from(2 * term + 1));
    2.0 * s * sum
}

const MANTISSA: u64 = (1 << 52) - 1;
const ONE: u64 = 1023 << 52;
/// |s| is at most 0.172, so the term after these is below 2^-60.
const TERMS: i32 = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_logarithm() {
        let mut random = fastrand::Rng::with_seed(5);
        let numbers = (0..100_000).map(|_| random.f64()).filter(|number| *number > 0.0);
        for number in numbers.chain([1.0, 0.5, 1.0 - 1e-12, 1e-16, 2.0, 1e300]) {
            let (ours, theirs) = (natural(number), number.ln());
            assert!((ours - theirs).abs() <= 4e-15 * theirs.abs().max(1e-3), "{number}: {ours} and {theirs}");
        }
    }

    #[test]
    fn greater_numbers_have_no_smaller_logarithm() {
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..100_000 {
            let number = random.f64().max(1e-9);
            assert!(natural(number) <= natural(number * (1.0 + 1e-15)), "{number}");
        }
    }
}
