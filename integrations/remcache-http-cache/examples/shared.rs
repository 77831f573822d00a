//! A service that is called through a cache which all processes share.
//!
//! ```sh
//! cargo run -p remcache-http-cache --example shared -- localhost:11211
//! ```

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use http_cache_tower::HttpCacheLayer;
use remcache::Client;
use remcache_http_cache::MemcachedManager;
use tower::{BoxError, Layer, ServiceExt, service_fn};

/// Responds as a remote server would.
async fn origin(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, BoxError> {
    println!("the server is called");
    Ok(Response::builder().header("cache-control", "max-age=60").body("Hello".into())?)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "localhost:11211".to_owned());
    let manager = MemcachedManager::new(&Client::new([server])?);
    let service = HttpCacheLayer::new(manager).layer(service_fn(origin));
    for _ in 0..2 {
        let request = Request::get("http://example.com/").body(Full::default())?;
        let response = service.clone().oneshot(request).await?;
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        println!("response: {}", body.escape_ascii());
    }
    Ok(())
}
