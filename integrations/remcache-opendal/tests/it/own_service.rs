//! OpenDAL's own memcached service on the same server.

use opendal_core::Operator;
use remcache_testkit::Memcached;

use crate::{operator, patient_service};

const PATHS: [&str; 4] = ["file", "a dir/file", "special  !@#$%^&()_+-=;',.txt", "ümlaut%41"];

fn operators(server: &Memcached) -> [Operator; 2] {
    let own =
        opendal_service_memcached::Memcached::default().endpoint(&format!("tcp://{}", server.addr())).root("/app");
    [Operator::new(own).expect("a valid configuration"), operator(patient_service(&server.addr()).root("/app"))]
}

#[tokio::test]
async fn this_service_reads_what_the_other_wrote() {
    let server = Memcached::start(&[]);
    let [own, this] = operators(&server);
    for path in PATHS {
        for length in [0, 5, 1_000_000] {
            own.write(path, vec![b'x'; length]).await.unwrap();
            assert!(this.read(path).await.unwrap().to_vec() == vec![b'x'; length], "{path}");
        }
        this.delete(path).await.unwrap();
        assert!(!own.exists(path).await.unwrap(), "{path}");
    }
}

#[tokio::test]
async fn the_other_service_reads_what_this_one_wrote() {
    let server = Memcached::start(&[]);
    let [own, this] = operators(&server);
    for path in PATHS {
        for length in [0, 5, 500_000] {
            this.write(path, vec![b'x'; length]).await.unwrap();
            assert!(own.read(path).await.unwrap().to_vec() == vec![b'x'; length], "{path}");
        }
    }
}
