//! An Actix server with four workers that counts the visits of each visitor.
//!
//! ```sh
//! cargo run -p remcache-actix-session --example visits -- localhost:11211
//! ```
//!
//! It prints the address that it listens on.

use actix_session::{Session, SessionMiddleware};
use actix_web::{App, HttpServer, cookie::Key, web};
use remcache::Client;
use remcache_actix_session::MemcachedSessionStore;

async fn count(session: Session) -> actix_web::Result<String> {
    let visits = session.get::<u64>("visits")?.unwrap_or(0) + 1;
    session.insert("visits", visits)?;
    Ok(format!("{visits} visits"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemcachedSessionStore::new(&Client::new(std::env::args().skip(1))?);
    // A real application keeps its key: with a new one, all visitors are logged out.
    let key = Key::generate();
    let app = move || {
        // Without TLS, browsers do not send secure cookies.
        let sessions = SessionMiddleware::builder(store.clone(), key.clone()).cookie_secure(false).build();
        App::new().wrap(sessions).route("/", web::get().to(count))
    };
    let server = HttpServer::new(app).workers(4).bind(("127.0.0.1", 0))?;
    println!("{}", server.addrs()[0]);
    Ok(server.run().await?)
}
