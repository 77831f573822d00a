//! A queue of batches: in memory, and beyond some size in an anonymous temporary file.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use remcache::proto::text::MetadumpItem;
use tempfile::SpooledTempFile;

use super::list::ListedBatch;

/// A first-in, first-out queue of batches.
pub(crate) struct Spool {
    file: SpooledTempFile,
    chunks: VecDeque<Chunk>,
    /// The offset of the next batch to read, and of the next to write.
    read_at: u64,
    write_at: u64,
    /// The lines of a batch; the buffer is reused.
    lines: Vec<u8>,
    /// The first error of the file, which follows the batches before it.
    problem: Option<io::Error>,
}

/// The length of a batch in the file, and its fields apart from the items.
struct Chunk {
    server: usize,
    seen: u64,
    items: usize,
    length: usize,
}

impl Default for Spool {
    fn default() -> Self {
        Self::new(IN_MEMORY)
    }
}

impl Spool {
    /// Creates a spool that creates a file when it exceeds this many bytes.
    fn new(in_memory: usize) -> Self {
        Self {
            file: SpooledTempFile::new(in_memory),
            chunks: VecDeque::new(),
            read_at: 0,
            write_at: 0,
            lines: Vec::new(),
            problem: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.problem.is_none()
    }

    /// Appends a batch. If that fails, the error is returned in place of the batch.
    pub(crate) fn push(&mut self, batch: ListedBatch) {
        self.lines.clear();
        for item in &batch.items {
            item.write(&mut self.lines);
            self.lines.push(b'\n');
        }
        let chunk =
            Chunk { server: batch.server, seen: batch.seen, items: batch.items.len(), length: self.lines.len() };
        let written = self.file.seek(SeekFrom::Start(self.write_at)).and_then(|_| self.file.write_all(&self.lines));
        match written {
            Ok(()) => {
                self.write_at += self.lines.len() as u64;
                self.chunks.push_back(chunk);
            }
            Err(error) => self.problem = Some(error),
        }
    }

    /// Removes the oldest batch.
    pub(crate) fn pop(&mut self) -> Option<io::Result<ListedBatch>> {
        match self.chunks.pop_front() {
            Some(chunk) => Some(self.read(&chunk)),
            None => self.problem.take().map(Err),
        }
    }

    fn read(&mut self, chunk: &Chunk) -> io::Result<ListedBatch> {
        self.lines.resize(chunk.length, 0);
        self.file.seek(SeekFrom::Start(self.read_at))?;
        self.file.read_exact(&mut self.lines)?;
        self.read_at += chunk.length as u64;
        if self.chunks.is_empty() {
            (self.read_at, self.write_at) = (0, 0);
            self.file.set_len(0)?;
        }
        let items: Vec<_> = self.lines.split(|&byte| byte == b'\n').filter_map(MetadumpItem::parse).collect();
        match items.len() == chunk.items {
            true => Ok(ListedBatch { server: chunk.server, items, seen: chunk.seen }),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "the temporary file was changed")),
        }
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("batches", &self.chunks.len()).finish_non_exhaustive()
    }
}

/// The size from which a file is used.
const IN_MEMORY: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(server: usize, keys: std::ops::Range<u32>) -> ListedBatch {
        let line = |key| format!("key=k%20{key}%FF exp=1800000000 la=1 cas={key} fetch=no cls=1 size=99");
        let items: Vec<_> = keys.map(|key| MetadumpItem::parse(line(key).as_bytes()).unwrap()).collect();
        ListedBatch { server, seen: items.len() as u64 + 7, items }
    }

    #[test]
    fn batches_are_read_back_in_order_from_memory_and_file() {
        let mut spool = Spool::new(1000);
        for _ in 0..3 {
            assert!(spool.is_empty() && spool.pop().is_none());
            for number in 0..30 {
                spool.push(batch(number as usize, number * 5..(number + 1) * 5));
            }
            assert!(spool.file.is_rolled() && spool.write_at > 1000);
            for number in 0..30 {
                let expected = batch(number as usize, number * 5..(number + 1) * 5);
                let found = spool.pop().unwrap().unwrap();
                assert_eq!((found.server, found.seen, found.items), (expected.server, expected.seen, expected.items));
            }
        }
        spool.push(batch(0, 0..0));
        assert_eq!(spool.pop().unwrap().unwrap().seen, 7);
    }
}
