//! Passwords, TLS and protocols, as options of the tool.

use remcache_testkit::{Authority, Dates, Memcached, SASL_PASSWORD, SASL_USER, scratch};

use crate::tool::{Run, remcache};

#[test]
fn a_password_comes_from_a_file_or_a_pipe() {
    let server = Memcached::start_sasl(&[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SASL_PASSWORD}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    for protocol in ["auto", "binary"] {
        let args = ["set", "k", "v", "--user", SASL_USER, "--password-file", path, "--protocol", protocol];
        remcache(args).servers(server.addr()).run().exits(0);
    }
    let piped = ["get", "k", "--user", SASL_USER, "--password-stdin"];
    assert_eq!(remcache(piped).servers(server.addr()).input(SASL_PASSWORD).run().exits(0).text(), "v");
    remcache(piped).servers(server.addr()).input("wrong").run().exits(6).reports_error("refused");
    remcache(["get", "k"]).servers(server.addr()).run().exits(6);
    remcache(["get", "k", "--user", "me"]).servers(server.addr()).run().exits(2).reports_error("--password-file");
    remcache(["get", "k", "--password-file", path]).servers(server.addr()).run().exits(2).reports_error("--user");
    let user = SASL_USER.replace('@', "%40");
    let url = format!("memcached://{user}:{SASL_PASSWORD}@{}", server.addr());
    let run = remcache(["get", "k", "-s", &url]).run().exits(0);
    assert!(run.stderr.contains("other users can see a password") && !run.stderr.contains(SASL_PASSWORD), "{run:?}");
    assert_eq!(remcache(["get", "k"]).servers(&url).run().exits(0).stderr, "");
}

#[test]
fn a_certificate_must_match_the_server_name() {
    let authority = Authority::new("remcache test");
    let certificate = authority.certify(&["localhost"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    let ca = authority.file();
    let ca = ca.to_str().unwrap();
    let address = format!("localhost:{}", server.port());
    remcache(["set", "k", "v", "--tls-ca", ca]).servers(&address).run().exits(0);
    let by_number = ["get", "k", "--tls-ca", ca, "-s", &server.addr()];
    remcache(by_number).run().exits(6).reports_error("localhost");
    let named = remcache(by_number.iter().chain(&["--tls-name", "localhost"])).run().exits(0);
    assert_eq!(named.text(), "v");
    remcache(["get", "k", "--tls"]).servers(&address).run().exits(6);
    remcache(["get", "k", "--tls-cert", ca]).servers(&address).run().exits(2).reports_error("--tls-key");
}

#[test]
fn an_invalid_certificate_is_reported() {
    let (authority, other_client) = (Authority::new("remcache test"), Authority::new("another CA"));
    let here = &["127.0.0.1"][..];
    let ca = authority.file();
    for (certificate, words, advice) in [
        (authority.certify(here, Dates::Past), "expired", "renew it, or set this machine's clock"),
        (authority.certify(here, Dates::Future), "not valid before", "set this machine's clock, or replace it"),
        (
            authority.certify(&["cache.example"], Dates::Now),
            "cache.example",
            "connect by such a name, or pass one with",
        ),
        (other_client.certify(here, Dates::Now), "not trusted", "pass the issuer's certificate with --tls-ca FILE"),
    ] {
        let server = Memcached::start_tls(&certificate, &[]);
        let run = remcache(["get", "k", "--tls-ca", ca.to_str().unwrap()]).servers(server.addr()).run().exits(6);
        assert!(run.stderr.contains(words) && run.stderr.contains(&server.addr()), "{run:?}");
        assert_eq!((run.text(), run.stderr.lines().count()), ("", 1), "{run:?}");
        let doctor = remcache(["doctor", "--tls-ca", ca.to_str().unwrap()]).servers(server.addr()).run().exits(6);
        assert!(doctor.lines()[1].contains(advice), "{doctor:?}");
        assert!(doctor.text().contains("  TLS  ") && !doctor.text().contains("check --"), "{doctor:?}");
    }
}

#[test]
fn doctor_advises_on_refused_credentials() {
    let server = Memcached::start_sasl(&[]);
    let doctor = remcache(["doctor"]).servers(server.addr()).run().exits(6);
    assert!(doctor.text().contains("set --user and --password-file, or use user:password@ in the URL"), "{doctor:?}");
    assert!(doctor.text().contains("  authentication  ") && !doctor.text().contains("--tls"), "{doctor:?}");
}

#[test]
fn a_directory_is_not_a_certificate() {
    let directory = scratch();
    let path = directory.path().to_str().unwrap();
    for option in ["--tls-ca", "--tls-cert", "--tls-key"] {
        remcache(["get", "k", option, path]).run().exits(2).reports_error(&format!("{path}: is a directory"));
    }
}

#[test]
fn a_certificate_that_expires_soon_is_a_finding() {
    let authority = Authority::new("remcache test");
    let ca = authority.file();
    let run = |dates, args: &[&str]| {
        let server = Memcached::start_tls(&authority.certify(&["127.0.0.1"], dates), &[]);
        remcache(args.iter().chain(&["--tls-ca", ca.to_str().unwrap()])).servers(server.addr()).run()
    };
    let is_problem = |run: &Run| {
        run.text().contains("its certificate expires in 4d") || run.text().contains("its certificate expires in 5d")
    };
    let soon = run(Dates::EndingSoon, &["doctor"]).exits(8);
    assert!(is_problem(&soon), "{soon:?}");
    let accepted = run(Dates::EndingSoon, &["doctor", "--certificate-expiry", "2d"]).exits(8);
    assert!(!is_problem(&accepted) && accepted.text().contains("ok  certificate  expires in "), "{accepted:?}");
    let valid = run(Dates::Now, &["doctor"]);
    assert!(
        valid.text().contains("ok  certificate  expires in ") && valid.text().contains("on 4000-01-01"),
        "{valid:?}"
    );
    let check = run(Dates::EndingSoon, &["check", "--fail-if", "certificate_days<30"]).exits(8);
    assert!(check.text().contains("CRITICAL  certificate_days is "), "{check:?}");
    run(Dates::Now, &["check", "--fail-if", "certificate_days<30"]).exits(0);
    let record = run(Dates::EndingSoon, &["check", "-f", "ndjson"]).exits(0).json();
    assert!(record["metrics"]["certificate_days"].as_f64().is_some_and(|days| (3.0..=5.0).contains(&days)), "{record}");
}

#[test]
fn a_port_with_another_protocol_is_reported() {
    let plain = Memcached::start(&[]);
    let run = remcache(["get", "k", "--tls", "--timeout", "20s", "--connect-timeout", "20s"])
        .servers(plain.addr())
        .run()
        .exits(6);
    assert!(run.stderr.contains("port without TLS") && run.stderr.contains(&plain.addr()), "{run:?}");
    let doctor = remcache(["doctor", "--tls", "--timeout", "20s", "--connect-timeout", "20s"]).servers(plain.addr());
    let doctor = doctor.run().exits(6);
    assert!(doctor.lines()[1].ends_with("leave out --tls, or use memcached://"), "{doctor:?}");
    assert!(!doctor.text().contains("check --tls"), "{doctor:?}");
    let certificate = Authority::new("remcache test").certify(&["127.0.0.1"], Dates::Now);
    let encrypted = Memcached::start_tls(&certificate, &[]);
    let run = remcache(["get", "k", "--timeout", "20s"]).servers(encrypted.addr()).run().exits(4);
    assert!(run.stderr.contains("memcacheds://") && run.stderr.contains(&encrypted.addr()), "{run:?}");
    for command in ["keys", "dump", "watch", "hotkeys"] {
        let run = remcache([command]).servers(encrypted.addr()).run().exits(4);
        assert!(run.stderr.contains("if it is a port for TLS, pass --tls or use memcacheds://"), "{run:?}");
    }
}

/// Neither in errors nor in logs.
#[test]
fn a_password_is_never_printed() {
    const SECRET: &str = "the-canary-of-this-test";
    let (sasl, plain) = (Memcached::start_sasl(&[]), Memcached::start(&[]));
    let url = |server: &Memcached, scheme: &str| format!("{scheme}://me:{SECRET}@{}", server.addr());
    for server in
        [url(&sasl, "memcached"), url(&plain, "memcached"), url(&sasl, "memcacheds"), format!("http://me:{SECRET}@a")]
    {
        let run = remcache(["get", "k", "-vv", "-s", &server]).run();
        assert_ne!(run.exit, Some(0), "{run:?}");
        assert!(!run.stderr.contains(SECRET) && !run.text().contains(SECRET), "{run:?}");
    }
    let piped =
        remcache(["get", "k", "-vv", "--user", "me", "--password-stdin"]).servers(sasl.addr()).input(SECRET).run();
    assert!(piped.exit == Some(6) && !piped.stderr.contains(SECRET), "{piped:?}");
}

#[test]
fn the_protocol_can_be_selected() {
    let server = Memcached::start(&["-B", "ascii"]);
    for protocol in ["auto", "meta", "text"] {
        remcache(["set", "k", protocol, "--protocol", protocol]).servers(server.addr()).run().exits(0);
        let run = remcache(["get", "k", "--protocol", protocol]).servers(server.addr()).run().exits(0);
        assert_eq!(run.text(), protocol);
    }
    remcache(["get", "k", "--protocol", "binary"]).servers(server.addr()).run().exits(4);
    remcache(["get", "k", "--protocol", "ascii"]).run().exits(2).reports_error("auto, binary, meta and text");
}
