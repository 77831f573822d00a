//! The service: each operation is one of the newer version's operator.

use opendal_core::raw::{
    OpCopier, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir,
    RpPresign, RpRead, RpRename, RpStat, Service, ServiceInfo, oio,
};
use opendal_core::{Buffer, BytesRange, Capability, EntryMode, Error, ErrorKind, Metadata, OperationContext, Result};
use opendal_core_059 as newer;

use crate::MEMCACHED_SCHEME;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct MemcachedService {
    operator: newer::Operator,
    info: ServiceInfo,
}

impl MemcachedService {
    pub(crate) fn new(operator: newer::Operator, root: &str) -> Self {
        Self { operator, info: ServiceInfo::new(MEMCACHED_SCHEME, root, "remcache") }
    }
}

impl Service for MemcachedService {
    type Reader = oio::StreamReader<Reader>;
    type Writer = Writer;
    type Lister = ();
    type Deleter = oio::OneShotDeleter<Deleter>;
    type Copier = ();

    fn info(&self) -> ServiceInfo {
        self.info.clone()
    }

    fn capability(&self) -> Capability {
        Capability {
            read: true,
            stat: true,
            write: true,
            write_can_empty: true,
            delete: true,
            shared: true,
            ..Capability::default()
        }
    }

    async fn create_dir(&self, _: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        Err(unsupported())
    }

    async fn stat(&self, _: &OperationContext, path: &str, _: OpStat) -> Result<RpStat> {
        let object = self.operator.stat(path).await.map_err(convert_error)?;
        Ok(RpStat::new(metadata(object.content_length())))
    }

    fn read(&self, _: &OperationContext, path: &str, _: OpRead) -> Result<Self::Reader> {
        Ok(oio::StreamReader::new(Reader { operator: self.operator.clone(), path: path.to_owned() }))
    }

    fn write(&self, _: &OperationContext, path: &str, _: OpWrite) -> Result<Self::Writer> {
        Ok(Writer { operator: self.operator.clone(), path: path.to_owned(), content: oio::QueueBuf::new() })
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(Deleter { operator: self.operator.clone() }))
    }

    fn list(&self, _: &OperationContext, _: &str, _: OpList) -> Result<Self::Lister> {
        Err(unsupported())
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy, _: OpCopier) -> Result<Self::Copier> {
        Err(unsupported())
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        Err(unsupported())
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        Err(unsupported())
    }
}

/// Reads one object.
pub(crate) struct Reader {
    operator: newer::Operator,
    path: String,
}

impl oio::StreamRead for Reader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let content = Buffer::from(self.operator.read(&self.path).await.map_err(convert_error)?.to_bytes());
        let requested = content.slice(range.to_content_range(content.len())?);
        Ok((RpRead::new(metadata(content.len() as u64)), Box::new(requested)))
    }
}

/// Collects the content of one object, and stores it when it is complete.
pub(crate) struct Writer {
    operator: newer::Operator,
    path: String,
    content: oio::QueueBuf,
}

impl oio::Write for Writer {
    async fn write(&mut self, part: Buffer) -> Result<()> {
        self.content.push(part);
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        let content = self.content.clone().collect().to_bytes();
        let length = content.len();
        self.operator.write(&self.path, content).await.map_err(convert_error)?;
        Ok(metadata(length as u64))
    }

    async fn abort(&mut self) -> Result<()> {
        self.content.clear();
        Ok(())
    }
}

/// Deletes objects.
pub(crate) struct Deleter {
    operator: newer::Operator,
}

impl oio::OneShotDelete for Deleter {
    async fn delete_once(&self, path: String, _: OpDelete) -> Result<()> {
        self.operator.delete(&path).await.map_err(convert_error)
    }
}

fn metadata(length: u64) -> Metadata {
    Metadata::new(EntryMode::FILE).with_content_length(length)
}

/// Converts an error of the newer version; sccache distinguishes a missing object from a failure.
fn convert_error(error: newer::Error) -> Error {
    let kind = match error.kind() {
        newer::ErrorKind::NotFound => ErrorKind::NotFound,
        newer::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        newer::ErrorKind::ConfigInvalid => ErrorKind::ConfigInvalid,
        _ => ErrorKind::Unexpected,
    };
    let is_temporary = error.is_temporary();
    let converted = Error::new(kind, error.to_string());
    if is_temporary { converted.set_temporary() } else { converted }
}

fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "memcached does not support the operation")
}
