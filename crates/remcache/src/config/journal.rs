//! Settings of the journal of deletes.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::journal_file::JournalFile;

/// The journal of deletes that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct JournalSettings {
    /// Maximum number of keys per server; 0 turns it off.
    pub(crate) capacity: usize,
    /// The path of the file that also stores the keys.
    pub(crate) path: Option<PathBuf>,
    /// The file at that path, once the client is created.
    pub(crate) file: Option<Arc<JournalFile>>,
}

impl JournalSettings {
    /// Opens the file, for one client.
    ///
    /// # Errors
    /// Same as [`JournalFile::open`].
    pub(crate) fn open(self) -> Result<Self, Error> {
        let file = self.path.as_deref().map(JournalFile::open).transpose()?.map(Arc::new);
        Ok(Self { file, ..self })
    }
}
