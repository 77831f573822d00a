//! TLS and authentication, with a server of your own:
//!
//! ```sh
//! memcached -S -Z -o ssl_chain_cert=server.pem,ssl_key=server.key &
//! echo secret > password
//! SERVER=localhost CA_FILE=ca.pem USER=app PASSWORD_FILE=password \
//!     cargo run -p remcache --features tls --example secure
//! ```
//!
//! It prints:
//!
//! ```text
//! read over TLS: a secret value
//! with another password: … authentication failed: the server refused the user or the password
//! with the system's authorities: … TLS failed: …
//! ```

use std::env;
use std::error::Error;

use remcache::config::Credentials;
use remcache::transport::Tls;
use remcache::{Client, Config, ErrorKind};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| env::var(name).map_err(|_| format!("{name} is not set: see the first comment"));
    let (server, ca_file) = (setting("SERVER")?, setting("CA_FILE")?);
    let (user, password_file) = (setting("USER")?, setting("PASSWORD_FILE")?);

    // The CA file and the password are read again for each connection:
    // neither needs a restart when it changes.
    let tls = Tls::with_roots_file(ca_file);
    let name = user.clone();
    let config = Config::new().tls(tls).credentials_provider(move || {
        let (user, file) = (name.clone(), password_file.clone());
        async move {
            let password = tokio::fs::read_to_string(file).await?;
            Ok(Credentials::new(user, password.trim_end()))
        }
    });
    let client = Client::with_config([&server], config.clone())?;
    client.set("key", "a secret value").await?;
    let item = client.get("key").await?.ok_or("the value is gone")?;
    println!("read over TLS: {}", item.value.escape_ascii());

    // A refusal is final: the server is not asked again with the same password.
    let wrong = Client::with_config([&server], config.clone().credentials(Credentials::new(user, "wrong")))?;
    let error = wrong.get("key").await.expect_err("the password is wrong");
    assert_eq!(error.kind(), ErrorKind::Auth);
    println!("with another password: {error}");

    // Without a valid certificate the connection is closed before the password is sent.
    let strict = Client::with_config([&server], config.tls(Tls::with_system_roots()))?;
    let error = strict.get("key").await.expect_err("the authority is not one of the system's");
    assert_eq!(error.kind(), ErrorKind::Tls);
    println!("with the system's authorities: {error}");
    Ok(())
}
