//! The implementation of OpenDAL's `Service`.

use opendal_core::raw::{
    OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign,
    RpRead, RpRename, RpStat, Service, ServiceInfo, build_abs_path, oio,
};
use opendal_core::{
    Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, MetadataBuilder, OperationContext, Result,
};

use crate::MEMCACHED_SCHEME;
use crate::core::Core;

/// A service whose objects are memcached items.
#[derive(Clone, Debug)]
pub(crate) struct MemcachedService {
    core: Core,
    info: ServiceInfo,
}

impl MemcachedService {
    pub(crate) fn new(core: Core, root: &str) -> Self {
        Self { core, info: ServiceInfo::new(MEMCACHED_SCHEME, root, "memcached") }
    }

    fn absolute_path(&self, path: &str) -> String {
        build_abs_path(&self.info.root(), path)
    }
}

impl Service for MemcachedService {
    type Reader = oio::StreamReader<Reader>;
    type Writer = Writer;
    type Lister = ();
    type Deleter = oio::OneShotDeleter<Deleter>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        self.info.clone()
    }

    fn capability(&self) -> Capability {
        Capability {
            read: true,
            stat: true,
            write: true,
            write_can_empty: true,
            write_with_if_not_exists: true,
            delete: true,
            shared: true,
            ..Capability::default()
        }
    }

    async fn create_dir(&self, _: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        Err(unsupported("create_dir"))
    }

    async fn stat(&self, _: &OperationContext, path: &str, _: OpStat) -> Result<RpStat> {
        let absolute = self.absolute_path(path);
        if absolute == self.absolute_path("") {
            return Ok(RpStat::new(MetadataBuilder::dir().build()));
        }
        let content = self.core.get(&absolute).await?;
        Ok(RpStat::new(metadata(content.len())))
    }

    fn read(&self, _: &OperationContext, path: &str, _: OpRead) -> Result<Self::Reader> {
        Ok(oio::StreamReader::new(Reader { core: self.core.clone(), path: self.absolute_path(path) }))
    }

    fn write(&self, _: &OperationContext, path: &str, options: OpWrite) -> Result<Self::Writer> {
        let path = self.absolute_path(path);
        Ok(Writer {
            core: self.core.clone(),
            path,
            content: oio::QueueBuf::new(),
            must_not_exist: options.if_not_exists(),
        })
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(Deleter { service: self.clone() }))
    }

    fn list(&self, _: &OperationContext, _: &str, _: OpList) -> Result<Self::Lister> {
        Err(unsupported("list"))
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<Self::Copier> {
        Err(unsupported("copy"))
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        Err(unsupported("rename"))
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        Err(unsupported("presign"))
    }
}

/// Reads one object.
pub(crate) struct Reader {
    core: Core,
    path: String,
}

impl oio::StreamRead for Reader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let content = self.core.get(&self.path).await?;
        let requested = content.slice(range.to_content_range(content.len())?);
        Ok((RpRead::new(metadata(content.len())), Box::new(requested)))
    }
}

/// Collects the content of one object, and stores it when it is complete.
pub(crate) struct Writer {
    core: Core,
    path: String,
    content: oio::QueueBuf,
    must_not_exist: bool,
}

impl oio::Write for Writer {
    async fn write(&mut self, part: Buffer) -> Result<()> {
        self.content.push(part);
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        let content = self.content.clone().collect();
        let length = content.len();
        if self.must_not_exist {
            self.core.add(&self.path, content).await?;
        } else {
            self.core.set(&self.path, content).await?;
        }
        Ok(metadata(length))
    }

    async fn abort(&mut self) -> Result<()> {
        self.content.clear();
        Ok(())
    }
}

/// Deletes objects.
pub(crate) struct Deleter {
    service: MemcachedService,
}

impl oio::OneShotDelete for Deleter {
    async fn delete_once(&self, path: String, _: OpDelete) -> Result<()> {
        self.service.core.delete(&self.service.absolute_path(&path)).await
    }
}

fn metadata(length: usize) -> Metadata {
    MetadataBuilder::file(length as u64).build()
}

#[cold]
fn unsupported(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "memcached does not support the operation").with_operation(operation)
}
