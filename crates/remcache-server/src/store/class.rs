//! Slab classes: memcached keeps items of about the same size together, and tells of them so.

/// The first size, the factor between two, and the last but for the largest: memcached's own.
const FIRST: usize = 96;
const ALIGNMENT: usize = 8;
const LARGEST: usize = 512 * 1024;
/// What a class takes from the memory at a time.
pub(crate) const PAGE: usize = 1 << 20;
/// One more than the highest number that a request may name.
pub(crate) const NUMBERS: u32 = 64;

/// The chunk sizes of all classes; class 1 is the first.
fn sizes() -> impl Iterator<Item = usize> {
    let next = |size: &usize| Some((size * 5 / 4).next_multiple_of(ALIGNMENT));
    let growing = std::iter::successors(Some(FIRST), next);
    growing.take_while(|size| *size <= LARGEST * 4 / 5).chain([LARGEST])
}

/// The class of an item of this size; items larger than all chunks are in the last one.
pub(crate) fn of(size: usize) -> u8 {
    // The classes of small items are looked at first, and most items are small.
    let before = sizes().take_while(|chunk| *chunk < size && *chunk < LARGEST).count();
    u8::try_from(before + 1).unwrap_or(u8::MAX)
}

/// The chunk size of a class.
pub(crate) fn chunk(class: u8) -> usize {
    sizes().nth(usize::from(class).saturating_sub(1)).unwrap_or(LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_memcached() {
        let cases = [(1, 1), (96, 1), (97, 2), (120, 2), (121, 3), (100_063, 32), (524_288, 39), (1 << 20, 39)];
        for (size, class) in cases {
            assert_eq!(of(size), class, "{size}");
        }
        assert_eq!([1, 2, 3, 39].map(chunk), [96, 120, 152, 524_288]);
    }
}
