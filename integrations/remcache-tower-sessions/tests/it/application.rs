//! Sessions of an application, through the middleware.

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use axum::{Router, routing::get};
use remcache_testkit::Memcached;
use remcache_tower_sessions::MemcachedStore;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_sessions::{Session, SessionManagerLayer};

use crate::patient_store;

fn app(store: MemcachedStore) -> Router {
    let login = |session: Session, user: String| async move { session.insert("user", user).await.is_ok().to_string() };
    let user = |session: Session| async move {
        match session.get::<String>("user").await {
            Ok(user) => user.unwrap_or_else(|| "no user".to_owned()),
            Err(error) => format!("failed: {error}"),
        }
    };
    let logout = |session: Session| async move { session.flush().await.is_ok().to_string() };
    let routes = Router::new().route("/login", get(login)).route("/user", get(user)).route("/logout", get(logout));
    routes.layer(SessionManagerLayer::new(store))
}

/// Sends a request, and returns the status, the cookie that is set and the body.
async fn send(app: &Router, path: &str, cookie: &str, body: &str) -> (u16, String, String) {
    let request = Request::builder().uri(path).header(header::COOKIE, cookie).body(Body::from(body.to_owned()));
    let response = app.clone().oneshot(request.expect("valid")).await.expect("a router does not fail");
    let cookie = response.headers().get(header::SET_COOKIE).map_or("", |value| value.to_str().expect("text"));
    let (status, cookie) = (response.status().as_u16(), cookie.split(';').next().unwrap_or_default().to_owned());
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body without errors");
    (status, cookie, String::from_utf8(body.to_vec()).expect("text"))
}

async fn user(app: &Router, cookie: &str) -> (u16, String) {
    let (status, _, user) = send(app, "/user", cookie, "").await;
    (status, user)
}

fn logged_out() -> (u16, String) {
    (200, "no user".to_owned())
}

#[tokio::test]
async fn sessions_survive_a_restart_of_the_application_but_not_of_the_server() {
    let mut server = Memcached::start(&[]);
    let (_, cookie, _) = send(&app(patient_store(&server)), "/login", "", "ada").await;
    let restarted = app(patient_store(&server));
    assert_eq!(user(&restarted, &cookie).await, (200, "ada".to_owned()));
    server.restart();
    let restarted = app(patient_store(&server));
    assert_eq!(user(&restarted, &cookie).await, logged_out());
}

#[tokio::test]
async fn a_logout_is_not_undone() {
    let server = Memcached::start(&[]);
    let app = app(patient_store(&server));
    let (_, cookie, _) = send(&app, "/login", "", "ada").await;
    assert_eq!(send(&app, "/logout", &cookie, "").await.0, 200);
    assert_eq!(user(&app, &cookie).await, logged_out());
}

#[tokio::test]
async fn sessions_are_never_mixed() {
    let server = Memcached::start(&[]);
    let app = app(patient_store(&server));
    let mut visitors = JoinSet::new();
    for number in 0..100 {
        let (app, name) = (app.clone(), format!("visitor {number}"));
        visitors.spawn(async move {
            let (_, cookie, _) = send(&app, "/login", "", &name).await;
            for _ in 0..10 {
                assert_eq!(user(&app, &cookie).await, (200, name.clone()));
            }
        });
    }
    visitors.join_all().await;
}

#[tokio::test]
async fn requests_are_answered_while_the_server_is_down() {
    for interrupt in [Memcached::kill, |server: &mut Memcached| server.stop()] {
        let mut server = Memcached::start(&[]);
        let app = app(MemcachedStore::new(&crate::client(&server)));
        let (_, cookie, _) = send(&app, "/login", "", "ada").await;
        interrupt(&mut server);
        assert_eq!(user(&app, &cookie).await, logged_out());
        assert_eq!(send(&app, "/login", "", "ada").await.0, 200);
        assert_eq!(send(&app, "/logout", &cookie, "").await.0, 200);
    }
}
