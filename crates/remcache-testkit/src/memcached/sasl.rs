//! The user database of a memcached that requires SASL authentication.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The user of a server that [`Memcached::start_sasl`](crate::Memcached::start_sasl) starts, with its realm.
///
/// The realm named like the machine has a second user: `bob` with the password `secret`.
pub const SASL_USER: &str = "testuser@memcached.realm";
/// The password of [`SASL_USER`].
pub const SASL_PASSWORD: &str = "testpass";

/// Writes `memcached.conf` and the user database into `dir`.
pub(super) fn write_database(dir: &Path) {
    let database = dir.join("sasldb");
    let config = format!(
        "mech_list: plain cram-md5\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\n",
        database.display()
    );
    fs::write(dir.join("memcached.conf"), config).expect("the directory is writable");
    add_user(&database, &["-u", "memcached.realm", "testuser"], SASL_PASSWORD);
    add_user(&database, &["bob"], "secret");
    // World-readable, because a memcached that root starts drops its privileges.
    fs::set_permissions(&database, Permissions::from_mode(0o644)).expect("saslpasswd2 created the database");
}

fn add_user(database: &Path, user: &[&str], password: &str) {
    let mut child = spawn(database, user);
    let mut stdin = child.stdin.take().expect("the input is a pipe");
    stdin.write_all(password.as_bytes()).expect("saslpasswd2 reads the password");
    drop(stdin);
    let output = child.wait_with_output().expect("saslpasswd2 ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "saslpasswd2: {stderr}");
}

fn spawn(database: &Path, user: &[&str]) -> Child {
    let run = |program: &str| {
        Command::new(program)
            .args(["-p", "-c", "-f"])
            .arg(database)
            .args(user)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    // Debian installs it in a directory that only root has in its search path.
    run("saslpasswd2").or_else(|_| run("/usr/sbin/saslpasswd2")).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => panic!(
            "saslpasswd2 is not installed; install it with `apt-get install sasl2-bin libsasl2-modules libsasl2-modules-db`"
        ),
        _ => panic!("cannot run saslpasswd2: {error}"),
    })
}
