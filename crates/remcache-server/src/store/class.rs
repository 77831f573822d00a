//! Slab classes. memcached groups items of similar size, and its statistics and dumps report them by class.

/// The chunk size of class 1. The sizes and the growth factor of 5/4 are memcached's.
const FIRST: usize = 96;
const ALIGNMENT: usize = 8;
const LARGEST: usize = 512 * 1024;
/// The memory that a class allocates at a time.
pub(crate) const PAGE_SIZE: usize = 1 << 20;
/// One more than the highest class number that a request may name.
pub(crate) const CLASS_LIMIT: u32 = 64;

/// Returns the chunk sizes of all classes, starting with class 1.
fn chunk_sizes() -> impl Iterator<Item = usize> {
    let next = |size: &usize| Some((size * 5 / 4).next_multiple_of(ALIGNMENT));
    let growing = std::iter::successors(Some(FIRST), next);
    growing.take_while(|size| *size <= LARGEST * 4 / 5).chain([LARGEST])
}

/// Returns the class of an item of this size. Items larger than all chunks belong to the last class.
pub(crate) fn class_of(size: usize) -> u8 {
    // A linear search is fast enough: it ends early for small items, and most items are small.
    let before = chunk_sizes().take_while(|chunk| *chunk < size && *chunk < LARGEST).count();
    u8::try_from(before + 1).unwrap_or(u8::MAX)
}

pub(crate) fn chunk_size(class: u8) -> usize {
    chunk_sizes().nth(usize::from(class).saturating_sub(1)).unwrap_or(LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_match_memcached() {
        let cases = [(1, 1), (96, 1), (97, 2), (120, 2), (121, 3), (100_063, 32), (524_288, 39), (1 << 20, 39)];
        for (size, class) in cases {
            assert_eq!(class_of(size), class, "{size}");
        }
        assert_eq!([1, 2, 3, 39].map(chunk_size), [96, 120, 152, 524_288]);
    }
}
