//! The masters: reachable, of our cluster, ready, with certificates that hold and clocks that agree.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Member;
use common::config::{Config, ProbeKind};
use common::files;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::DATE;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use lb::health::identity::{ClientIdentity, client_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Finding;
use super::certificate::{Dates, Names, judge_dates};
use crate::serve::PEM_BYTES_MAX;

/// Longest wait for one step with one master.
const PATIENCE: Duration = Duration::from_secs(5);

/// Difference of clocks that shows: `Date` has whole seconds, and the answer takes its time.
const SKEW_SEEN: i64 = 3;

/// Difference of clocks at which tokens and new certificates are refused.
const SKEW_BAD: i64 = 60;

/// The name or address under which clients reach the balancer.
pub(crate) type Endpoint = bootstrap::kubeadm::ControlPlaneEndpoint;

/// Looks at every master, one after the other: a report reads better in their order.
pub(super) async fn examine(config: &Config, endpoint: Option<&Endpoint>) -> Vec<Finding> {
    if config.backends.is_empty() {
        let found = "none is named";
        let fix =
            "set `backends`, unless masters register themselves with `mainstay init` and `join`";
        return vec![Finding::warn("masters", found, fix)];
    }
    let looks = match looks(config) {
        Ok(looks) => looks,
        Err(reason) => {
            return vec![Finding::fail("cluster", reason, "mend the file, or leave the key out")];
        }
    };
    let mut findings = Vec::new();
    for member in &config.backends {
        let seen = look(member.addr, looks.as_ref()).await;
        findings.extend(judge(member, &seen, endpoint));
    }
    findings
}

/// With which eyes a master is looked at: any certificate, and only one of our cluster.
struct Looks {
    any: Arc<ClientConfig>,
    ours: Option<Arc<ClientConfig>>,
}

/// None if masters are only asked whether they accept.
fn looks(config: &Config) -> Result<Option<Looks>, String> {
    if config.probe == ProbeKind::Tcp {
        return Ok(None);
    }
    let read = |path: &std::path::PathBuf| {
        files::regular(path, PEM_BYTES_MAX)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let ca = config.cluster.ca.as_ref().map(read).transpose()?;
    let client = config.cluster.client.as_ref();
    let client =
        client.map(|(cert, key)| Ok::<_, String>((read(cert)?, read(key)?))).transpose()?;
    let client = client.as_ref().map(|(certificate, key)| ClientIdentity { certificate, key });
    let with = |ca: Option<&[u8]>| client_config(ca, client).map_err(|error| error.to_string());
    let ours = ca.as_deref().map(|ca| with(Some(ca))).transpose()?;
    Ok(Some(Looks { any: with(None)?, ours }))
}

/// What was seen of a master.
#[derive(Debug)]
struct Seen {
    /// How long the connection took.
    connected: Result<Duration, String>,
    /// Our own address on the way there.
    local: Option<IpAddr>,
    /// None if it was not asked over TLS.
    answer: Option<Result<Answer, String>>,
    /// Whether its certificate is of our cluster; none if no CA is known.
    ours: Option<Result<(), String>>,
}

/// What it answered over TLS.
#[derive(Debug)]
struct Answer {
    certificate: Vec<u8>,
    /// Of `/readyz`.
    status: u16,
    /// Its clock minus ours, in seconds.
    skew: Option<i64>,
}

async fn look(addr: SocketAddr, looks: Option<&Looks>) -> Seen {
    let begun = Instant::now();
    let connected = within(TcpStream::connect(addr)).await;
    let took = begun.elapsed();
    // Closed before it is asked: a master that serves one after the other would wait for us.
    let local = connected.as_ref().ok().and_then(|stream| stream.local_addr().ok());
    let connected = connected.map(|_| took);
    let answer = match looks.filter(|_| connected.is_ok()) {
        None => None,
        Some(looks) => Some(ask(addr, &looks.any).await),
    };
    let mut ours = None;
    if let (Some(Ok(_)), Some(config)) = (&answer, looks.and_then(|looks| looks.ours.as_ref())) {
        ours = Some(shake(addr, config).await.map(|_| ()));
    }
    Seen { connected, local: local.map(|local| local.ip().to_canonical()), answer, ours }
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn shake(addr: SocketAddr, config: &Arc<ClientConfig>) -> Result<Tls, String> {
    let stream = within(TcpStream::connect(addr)).await?;
    let name = ServerName::IpAddress(addr.ip().into());
    within(TlsConnector::from(Arc::clone(config)).connect(name, stream)).await
}

async fn ask(addr: SocketAddr, config: &Arc<ClientConfig>) -> Result<Answer, String> {
    let tls = shake(addr, config).await?;
    let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
    let (mut sender, connection) = handshake(TokioIo::new(tls)).await.map_err(|e| e.to_string())?;
    let request = hyper::Request::get("/readyz")
        .header("host", addr.to_string())
        .header("user-agent", concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async move {
        let answer = sender.send_request(request);
        tokio::pin!(answer);
        // A master that closes at once may have answered before.
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            _ = connection => answer.await,
        };
        answered.map_err(io::Error::other)
    };
    let answer = within(exchange).await?;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let now = Timestamp::now().as_second();
    let skew = date.and_then(|date| rfc2822::parse(date).ok());
    let skew = skew.map(|date| date.timestamp().as_second() - now);
    Ok(Answer { certificate, status: answer.status().as_u16(), skew })
}

/// A step with a limit, and its failure as a word.
async fn within<T>(step: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, step).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing within {PATIENCE:?}")),
    }
}

/// What all of it means.
fn judge(member: &Member, seen: &Seen, endpoint: Option<&Endpoint>) -> Vec<Finding> {
    let (name, addr) = (&member.name, member.addr);
    let check = |what: &str| format!("{name} {what}");
    let reached = match &seen.connected {
        Ok(took) => Finding::ok(check("reachable"), format!("{addr} in {} ms", took.as_millis())),
        Err(reason) => {
            let fix = "start its apiserver, open the firewall between, or mend the address";
            Finding::fail(check("reachable"), format!("{addr}: {reason}"), fix)
        }
    };
    let mut findings = vec![reached];
    match &seen.answer {
        None => {}
        Some(Err(reason)) => {
            let fix = "is it an apiserver? for anything else set `probe = \"tcp\"`";
            findings.push(Finding::fail(check("TLS"), reason.clone(), fix));
        }
        Some(Ok(answer)) => {
            findings.push(judge_identity(check("identity"), seen.ours.as_ref()));
            findings.extend(
                Dates::of_der(&answer.certificate)
                    .map(|dates| judge_dates(check("certificate"), &dates, Timestamp::now())),
            );
            let names = Names::of_der(&answer.certificate);
            findings.push(judge_names(check("names"), &names, seen.local, endpoint));
            findings.push(judge_status(check("ready"), answer.status));
            findings.extend(answer.skew.map(|skew| judge_skew(check("clock"), skew)));
        }
    }
    findings
}

fn judge_identity(check: String, ours: Option<&Result<(), String>>) -> Finding {
    match ours {
        Some(Ok(())) => {
            Finding::ok(check, "its certificate is of the cluster's CA and names the address")
        }
        Some(Err(reason)) => {
            let fix = "is it of another cluster? else give the right `cluster.ca`, or renew the certificate \
                       with this address among its names";
            Finding::fail(check, reason.clone(), fix)
        }
        None => {
            let fix = "copy /etc/kubernetes/pki/ca.crt from a master and set `cluster.ca`";
            Finding::warn(check, "not verified: no CA is known, any apiserver would do", fix)
        }
    }
}

/// Clients compare the certificate with the address under which they reach us.
fn judge_names(
    check: String,
    names: &Names,
    local: Option<IpAddr>,
    endpoint: Option<&Endpoint>,
) -> Finding {
    let host = endpoint.map(|endpoint| endpoint.host().to_owned());
    let Some(host) = host.or_else(|| local.map(|local| local.to_string())) else {
        return Finding::warn(check, "nothing to compare with", "give --endpoint HOST");
    };
    if names.include(&host) {
        return Finding::ok(check, format!("include {host}"));
    }
    let found = format!("do not include {host}");
    let fix = format!(
        "on that master save the ClusterConfiguration (`kubectl -n kube-system get cm kubeadm-config -o \
         jsonpath='{{.data.ClusterConfiguration}}' > kubeadm.yaml`), add {host} to apiServer.certSANs in it, \
         move pki/apiserver.crt and pki/apiserver.key away, run `kubeadm init phase certs apiserver \
         --config kubeadm.yaml`, restart the apiserver's pod, and then once `kubeadm init phase \
         upload-config kubeadm --config kubeadm.yaml`"
    );
    match endpoint {
        Some(_) => Finding::fail(check, found, fix),
        // Perhaps clients use another address of this host: we were not told which.
        None => {
            Finding::warn(check, found, format!("give --endpoint if clients use another; or {fix}"))
        }
    }
}

fn judge_status(check: String, status: u16) -> Finding {
    match status {
        200..300 => Finding::ok(check, format!("/readyz answers {status}")),
        401 | 403 => {
            let found =
                format!("/readyz answers {status}: alive, but whether it is ready stays unknown");
            let fix = "give the probes a certificate (`cluster.client_certificate`), or allow anonymous \
                       requests for /readyz";
            Finding::warn(check, found, fix)
        }
        _ => {
            let fix = "on that master: kubectl get --raw '/readyz?verbose'";
            Finding::warn(check, format!("/readyz answers {status}"), fix)
        }
    }
}

fn judge_skew(check: String, skew: i64) -> Finding {
    let found = match skew {
        0 => "agrees with ours".to_owned(),
        _ if skew > 0 => format!("{skew} s ahead of ours"),
        _ => format!("{} s behind ours", -skew),
    };
    let fix = "let chrony or systemd-timesyncd set both clocks";
    match skew.abs() {
        0..SKEW_SEEN => Finding::ok(check, found),
        SKEW_SEEN..SKEW_BAD => Finding::warn(check, found, fix),
        _ => Finding::fail(check, format!("{found}: tokens and new certificates are refused"), fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn clocks_and_answers_are_graded() {
        let skew = |seconds| judge_skew("clock".to_owned(), seconds);
        for (seconds, grade) in
            [(0, Grade::Ok), (-2, Grade::Ok), (3, Grade::Warn), (-60, Grade::Fail)]
        {
            assert_eq!(skew(seconds).grade, grade, "{seconds}");
        }
        assert_eq!(skew(-5).found, "5 s behind ours");
        let status = |code| judge_status("ready".to_owned(), code).grade;
        assert_eq!([status(200), status(401), status(500)], [Grade::Ok, Grade::Warn, Grade::Warn]);
    }

    #[test]
    fn names_are_compared_with_the_address_of_clients() {
        let names = Names(vec!["kube.example.org".to_owned(), "10.0.0.10".to_owned()]);
        let judge = |local: &str, endpoint: Option<&str>| {
            let endpoint = endpoint.map(|text| text.parse::<Endpoint>().unwrap());
            judge_names("names".to_owned(), &names, local.parse().ok(), endpoint.as_ref()).grade
        };
        assert_eq!(judge("10.0.0.10", None), Grade::Ok);
        assert_eq!(judge("10.0.0.99", None), Grade::Warn);
        assert_eq!(judge("10.0.0.99", Some("kube.example.org:6443")), Grade::Ok);
        assert_eq!(judge("10.0.0.10", Some("other.example.org:6443")), Grade::Fail);
        assert_eq!(judge("", None), Grade::Warn);
    }

    #[test]
    fn a_master_without_a_ca_to_compare_is_a_warning() {
        assert_eq!(judge_identity("i".to_owned(), None).grade, Grade::Warn);
        assert_eq!(judge_identity("i".to_owned(), Some(&Ok(()))).grade, Grade::Ok);
        assert_eq!(judge_identity("i".to_owned(), Some(&Err("x".to_owned()))).grade, Grade::Fail);
    }
}
