//! `serve-metrics`: the servers' statistics over HTTP, for Prometheus to scrape.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::OnceLock;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use remcache::Client;
use remcache::observe::{DURATION_BUCKETS, Metrics};
use tokio::net::{TcpListener, TcpStream};

use crate::escape::escape_prometheus;
use crate::exit::{Exit, Failure, Outcome};
use crate::metrics;
use crate::session::Session;

/// Serve the statistics over HTTP, for Prometheus
///
/// The names are those of memcached_exporter. Each metric has the server as a label, so one process serves
/// all servers. A server that is down has memcached_up 0. The requests of this command are measured, too, by
/// the library's metrics, such as db_client_operation_duration_seconds.
///
/// By default it listens on port 9150 of all IPv4 interfaces, as memcached_exporter does, and without
/// authentication: anyone who reaches the port can read the statistics. With 127.0.0.1:9150, only this machine can.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Hit rate under 90 % in the last 5 minutes, as an expression of Prometheus:
  sum by (server) (
    rate(memcached_commands_total{command='get',status='hit'}[5m])
  ) / sum by (server) (rate(memcached_commands_total{command='get'}[5m])) < 0.9

Evictions per second in the last 5 minutes, where there are any:
  rate(memcached_items_evicted_total[5m]) > 0

The connections that are counted include the one of this command.")]
pub(crate) struct Args {
    /// Address to listen on: :9150 (all IPv4 interfaces), 127.0.0.1:9150, [::1]:9150
    #[arg(value_name = "ADDR", default_value = ":9150", value_parser = address)]
    listen: SocketAddr,

    /// Leave out the metrics of each slab class, which are most of the series of a server
    #[arg(long)]
    no_slabs: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let address = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    address.parse().map_err(|_| "expected an address such as :9150 or 127.0.0.1:9150".into())
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.handled();
    let own = own_metrics()?;
    let client = session.client_with(|config| config.observer(Metrics::new()))?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| Failure::Io(args.listen.to_string(), error))?;
    let address = listener.local_addr().map_err(|error| Failure::Io(args.listen.to_string(), error))?;
    session.output.line(format_args!("http://{address}/metrics"))?;
    session.output.flush()?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, client.clone(), own, !args.no_slabs))),
                // Out of descriptors, say: the next scrape may find some.
                Err(error) => {
                    session.output.notes().print(format_args!("{address}: {error}"));
                    tokio::time::sleep(session.options.timeout).await;
                }
            },
            () = interrupt.raised() => return Ok(Exit::Yes),
        }
    }
}

/// Returns the metrics of the tool's own requests. The process has one recorder, even if `shell` repeats the command.
fn own_metrics() -> Result<&'static PrometheusHandle, Failure> {
    static OWN: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(own);
    }
    let durations = Matcher::Suffix("_seconds".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(durations, &DURATION_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| Failure::Io("metrics".to_owned(), std::io::Error::other(error)))?;
    Ok(OWN.get_or_init(|| recorder))
}

async fn serve(stream: TcpStream, client: Client, own: &'static PrometheusHandle, has_classes: bool) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(answer(&request, &client, own, has_classes).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // The timer limits the time for the headers, so that an idle peer is disconnected.
    let connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
    // An error of the connection concerns only its peer.
    let _ = connection.await;
}

async fn answer(
    request: &Request<Incoming>,
    client: &Client,
    own: &PrometheusHandle,
    has_classes: bool,
) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let text = metrics::scrape(client, has_classes).await.text + &escape_prometheus(&own.render());
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        (&Method::GET | &Method::HEAD, "/") => {
            (StatusCode::OK, "text/html; charset=utf-8", "<a href=\"/metrics\">metrics</a>\n".into())
        }
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not found; see /metrics\n".into())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "only GET\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
