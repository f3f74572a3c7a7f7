//! What a master knows of itself and of its coordinators. Pure; seconds since 1970 are given.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::MemberKey;
use crate::client::{ClientError, JoinClient, MemberCertificate, Trust};
use crate::kubeadm::CaPin;
use crate::protocol::{Intent, Registered, Registration};
use crate::ticket::{COORDINATORS_MAX, CoordinatorAddr, JoinTicket, JoinToken};

/// A certificate is taken for ended a little early, because clocks differ.
const ENDS_EARLY_SECONDS: u64 = 60;

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// What it registered for.
    pub intent: Intent,
    /// Address of its apiserver, if the operator gave one.
    pub address: Option<IpAddr>,
    /// Port of its apiserver.
    pub port: u16,
    /// Its private key.
    pub key: MemberKey,
    /// Its coordinators, at least one, at most [`COORDINATORS_MAX`].
    pub coordinators: Vec<KnownCoordinator>,
    /// The ticket's token, kept until every coordinator has registered us.
    #[serde(default)]
    pub token: Option<Zeroizing<String>>,
    /// How far kubeadm is on this machine.
    #[serde(default)]
    pub kubeadm: Kubeadm,
    /// The operator's CAs were there before our first `kubeadm init`: a reset would delete them.
    #[serde(default)]
    pub own_authorities: bool,
}

/// What we know of kubeadm's work; what is on the disk tells the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kubeadm {
    /// We did not start it.
    #[default]
    NotStarted,
    /// We started it and have not seen its end.
    Started,
    /// It ended badly or was stopped. Its files tell nothing: all of them may be there by then.
    Failed,
    /// It ended well.
    Done,
}

/// A coordinator of the ticket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownCoordinator {
    /// Where it is.
    #[serde(with = "text")]
    pub address: CoordinatorAddr,
    /// Pins of the ticket.
    #[serde(with = "texts")]
    pub pins: Vec<CaPin>,
    /// What it gave us; `None` until it has registered us.
    pub seat: Option<Seat>,
    /// Pins of a newer ticket that do not name the CA of our seat: the coordinator began anew. Not
    /// stored, so that a wrong ticket costs nothing.
    #[serde(skip)]
    pub anew: Vec<CaPin>,
}

/// What a coordinator gave us when we registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Its CA, PEM.
    pub ca: String,
    /// Our certificate, PEM.
    pub certificate: String,
    /// When to renew it, in seconds since 1970.
    pub renew_at: u64,
    /// When it ends, in seconds since 1970.
    pub ends_at: u64,
    /// Where it probes our apiserver.
    pub apiserver: SocketAddr,
    /// `HOST:PORT` of the control plane.
    pub endpoint: String,
    /// What we registered for there; earlier versions did not keep it.
    #[serde(default)]
    pub intent: Option<Intent>,
}

impl Seat {
    /// What an answer to a registration for `intent` gave at `now`, seconds since 1970.
    #[must_use]
    pub fn new(registered: &Registered, intent: Option<Intent>, now: u64) -> Self {
        let valid = registered.valid_for_seconds;
        Self {
            ca: registered.coordinator_ca.clone(),
            certificate: registered.certificate.clone(),
            renew_at: now.saturating_add(valid / 2),
            ends_at: now.saturating_add(valid.saturating_sub(ENDS_EARLY_SECONDS)),
            apiserver: registered.address,
            endpoint: registered.endpoint.clone(),
            intent,
        }
    }

    /// Whether its CA is one of these.
    fn is_of(&self, pins: &[CaPin]) -> bool {
        let ours = CaPin::of_bundle(self.ca.as_bytes()).unwrap_or_default();
        ours.iter().any(|pin| pins.contains(pin))
    }
}

impl Identity {
    /// A new member for a ticket; nothing is registered yet.
    #[must_use]
    pub fn new(
        name: String,
        intent: Intent,
        address: Option<IpAddr>,
        port: u16,
        key: MemberKey,
    ) -> Self {
        Self {
            name,
            intent,
            address,
            port,
            key,
            coordinators: Vec::new(),
            token: None,
            kubeadm: Kubeadm::default(),
            own_authorities: false,
        }
    }

    /// Takes in a ticket: coordinators that are not known yet are added, the token is kept for
    /// them. Those that are known get its pins as long as they gave nothing; later they stay as they
    /// are, unless the ticket is of another CA.
    pub fn take(&mut self, ticket: &JoinTicket) {
        for address in &ticket.coordinators {
            let known = self.coordinators.iter_mut().find(|known| known.address == *address);
            match known {
                Some(KnownCoordinator { pins, seat: None, .. }) => pins.clone_from(&ticket.pins),
                Some(KnownCoordinator { anew, seat: Some(seat), .. })
                    if !seat.is_of(&ticket.pins) =>
                {
                    anew.clone_from(&ticket.pins);
                }
                Some(_) => {}
                None => self.coordinators.push(KnownCoordinator {
                    address: address.clone(),
                    pins: ticket.pins.clone(),
                    seat: None,
                    anew: Vec::new(),
                }),
            }
        }
        self.coordinators.truncate(COORDINATORS_MAX);
        if self.coordinators.iter().any(KnownCoordinator::needs_token) {
            self.token = Some(ticket.token.to_text());
        }
    }

    /// The kept token.
    #[must_use]
    pub fn join_token(&self) -> Option<JoinToken> {
        self.token.as_ref()?.parse().ok()
    }

    /// Notes what a coordinator gave. The token is forgotten when nobody needs it any more.
    pub fn seat(&mut self, asked: &KnownCoordinator, seat: Seat) {
        if let Some(known) = self.coordinators.iter_mut().find(|it| it.address == asked.address) {
            known.pins = asked.trusted().to_vec();
            known.anew = Vec::new();
            known.seat = Some(seat);
        }
        if !self.coordinators.iter().any(KnownCoordinator::needs_token) {
            self.token = None;
        }
    }

    /// The first coordinator that has registered us.
    #[must_use]
    pub fn first_seat(&self) -> Option<(&KnownCoordinator, &Seat)> {
        self.coordinators.iter().find_map(|known| Some((known, known.seat.as_ref()?)))
    }

    /// The coordinator at an address.
    #[must_use]
    pub fn coordinator(&self, address: &CoordinatorAddr) -> Option<&KnownCoordinator> {
        self.coordinators.iter().find(|known| known.address == *address)
    }

    /// What a coordinator is told that we want. Once there is a cluster its first master is one like
    /// the others, also to a coordinator that has not heard of it yet.
    fn claim(&self) -> Intent {
        match (self.intent, self.kubeadm) {
            (Intent::Init, Kubeadm::Done) => Intent::Register,
            (intent, _) => intent,
        }
    }

    /// A registration of this member with a request of this key.
    #[must_use]
    pub fn registration(
        &self,
        csr: String,
        cluster_ca: Option<String>,
        force: bool,
    ) -> Registration {
        Registration {
            name: self.name.clone(),
            address: self.address,
            port: self.port,
            csr,
            cluster_ca,
            intent: self.claim(),
            force,
        }
    }
}

impl KnownCoordinator {
    /// Whether there is a certificate that still holds at `now`, seconds since 1970.
    #[must_use]
    pub fn is_registered(&self, now: u64) -> bool {
        self.seat.as_ref().is_some_and(|seat| now < seat.ends_at && !self.needs_token())
    }

    /// The pins of which its CA must be one.
    #[must_use]
    pub fn trusted(&self) -> &[CaPin] {
        if self.anew.is_empty() { &self.pins } else { &self.anew }
    }

    /// Whether it has never heard of our key.
    pub(crate) fn needs_token(&self) -> bool {
        self.seat.is_none() || !self.anew.is_empty()
    }

    /// As [`KnownCoordinator::is_registered`], for this intent.
    #[must_use]
    pub fn is_registered_for(&self, intent: Intent, now: u64) -> bool {
        let other = |seat: &Seat| seat.intent.is_some_and(|registered| registered != intent);
        self.is_registered(now) && !self.seat.as_ref().is_some_and(other)
    }

    /// A client that registers: known by the CA where there is one, by the pins before.
    ///
    /// # Errors
    /// [`ClientError`] if what is stored cannot be used.
    pub fn stranger(&self) -> Result<JoinClient, ClientError> {
        let trust = match &self.seat {
            Some(seat) if self.anew.is_empty() => Trust::Ca(&seat.ca),
            _ => Trust::Pins(self.trusted()),
        };
        JoinClient::new(self.address.clone(), trust, None)
    }

    /// A client that is a member; `None` until we are registered.
    ///
    /// # Errors
    /// [`ClientError`] if what is stored cannot be used.
    pub fn member(&self, key: &MemberKey) -> Result<Option<JoinClient>, ClientError> {
        let Some(seat) = &self.seat else {
            return Ok(None);
        };
        let member = MemberCertificate { certificate: &seat.certificate, key: key.pem() };
        JoinClient::new(self.address.clone(), Trust::Ca(&seat.ca), Some(member)).map(Some)
    }
}

/// Anything that reads and writes itself as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        value: &impl std::fmt::Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: std::str::FromStr>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| de::Error::custom("not of the expected form"))
    }
}

/// A list of such.
mod texts {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer, T: std::fmt::Display>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: std::str::FromStr>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let values = texts.iter().map(|text| text.parse());
        values.collect::<Result<_, _>>().map_err(|_| de::Error::custom("not of the expected form"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// A CA, PEM.
    static CA: LazyLock<String> = LazyLock::new(ca);

    fn ca() -> String {
        rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem()
    }

    fn ticket(addresses: &[&str]) -> JoinTicket {
        ticket_of(&CA, addresses)
    }

    fn ticket_of(ca: &str, addresses: &[&str]) -> JoinTicket {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let pin = CaPin::of_bundle(ca.as_bytes()).unwrap()[0];
        JoinTicket::new(&addresses, "abcdef.0123456789abcdef".parse().unwrap(), vec![pin]).unwrap()
    }

    fn identity(addresses: &[&str]) -> Identity {
        let key = MemberKey::generate().unwrap();
        let mut identity = Identity::new("master1".to_owned(), Intent::Join, None, 6443, key);
        identity.take(&ticket(addresses));
        identity
    }

    fn registered() -> Registered {
        Registered {
            name: "master1".to_owned(),
            address: "10.0.0.11:6443".parse().unwrap(),
            certificate: "certificate".to_owned(),
            valid_for_seconds: 86_400,
            coordinator_ca: CA.clone(),
            endpoint: "10.0.0.10:6443".to_owned(),
            cluster_ca: None,
        }
    }

    fn give(identity: &mut Identity, coordinator: usize, seat: Seat) {
        let asked = identity.coordinators[coordinator].clone();
        identity.seat(&asked, seat);
    }

    #[test]
    fn a_coordinator_that_began_anew_is_registered_with_again() {
        let mut identity = identity(&["10.0.0.1", "10.0.0.2"]);
        let seat = Seat::new(&registered(), None, 1000);
        give(&mut identity, 0, seat.clone());
        give(&mut identity, 1, seat);
        let new = ca();
        identity.take(&ticket_of(&new, &["10.0.0.1"]));
        let known = identity.coordinators[0].clone();
        assert!(!known.is_registered(2000) && identity.coordinators[1].is_registered(2000));
        assert_eq!(known.trusted(), CaPin::of_bundle(new.as_bytes()).unwrap());
        assert!(identity.join_token().is_some(), "its key is unknown there");
        // What the disk keeps is as before until the registration went well.
        let text = serde_json::to_string(&identity).unwrap();
        let stored: Identity = serde_json::from_str(&text).unwrap();
        assert!(stored.coordinators[0].is_registered(2000));
        assert_eq!(stored.coordinators[0].pins, identity.coordinators[1].pins);
        let registered = Registered { coordinator_ca: new.clone(), ..registered() };
        let mut stored = stored;
        stored.seat(&known, Seat::new(&registered, None, 1000));
        assert!(stored.coordinators[0].is_registered(2000) && stored.token.is_none());
        assert_eq!(stored.coordinators[0].trusted(), CaPin::of_bundle(new.as_bytes()).unwrap());
    }

    #[test]
    fn the_token_is_kept_until_every_coordinator_has_registered_us() {
        let mut identity = identity(&["10.0.0.1", "10.0.0.2:7000"]);
        assert!(identity.join_token().is_some() && identity.first_seat().is_none());
        let seat = Seat::new(&registered(), None, 1000);
        give(&mut identity, 1, seat.clone());
        assert!(identity.join_token().is_some());
        assert_eq!(identity.first_seat().unwrap().0.address.to_string(), "10.0.0.2:7000");
        give(&mut identity, 0, seat);
        assert!(identity.token.is_none());
        // The same ticket again brings nothing new, another coordinator does.
        identity.take(&ticket(&["10.0.0.1"]));
        assert!(identity.token.is_none() && identity.coordinators.len() == 2);
        identity.take(&ticket(&["10.0.0.3"]));
        assert!(identity.token.is_some() && identity.coordinators.len() == 3);
        for more in 4..40 {
            identity.take(&ticket(&[&format!("10.0.0.{more}")]));
        }
        assert_eq!(identity.coordinators.len(), COORDINATORS_MAX);
    }

    #[test]
    fn a_certificate_is_renewed_at_half_and_ends_a_little_early() {
        let seat = Seat::new(&registered(), Some(Intent::Register), 1000);
        assert_eq!((seat.renew_at, seat.ends_at), (44_200, 87_340));
        let mut identity = identity(&["10.0.0.1"]);
        assert!(!identity.coordinators[0].is_registered(0));
        give(&mut identity, 0, seat);
        assert!(identity.coordinators[0].is_registered(87_339));
        assert!(!identity.coordinators[0].is_registered(87_340));
        assert!(identity.coordinators[0].is_registered_for(Intent::Register, 0));
        assert!(!identity.coordinators[0].is_registered_for(Intent::Join, 0), "to be told");
        identity.coordinators[0].seat.as_mut().unwrap().intent = None;
        assert!(identity.coordinators[0].is_registered_for(Intent::Join, 0), "not known");
    }

    #[test]
    fn the_first_master_claims_to_be_the_first_until_there_is_a_cluster() {
        let mut identity = identity(&["10.0.0.1"]);
        let claim = |identity: &Identity| identity.registration(String::new(), None, false).intent;
        assert_eq!(claim(&identity), Intent::Join);
        identity.intent = Intent::Init;
        for kubeadm in [Kubeadm::NotStarted, Kubeadm::Started, Kubeadm::Failed] {
            identity.kubeadm = kubeadm;
            assert_eq!(claim(&identity), Intent::Init);
        }
        identity.kubeadm = Kubeadm::Done;
        assert_eq!(claim(&identity), Intent::Register);
    }

    #[test]
    fn it_survives_the_disk() {
        let mut identity = identity(&["[fd00::1]:6445", "lb.example"]);
        give(&mut identity, 1, Seat::new(&registered(), None, 5));
        identity.kubeadm = Kubeadm::Started;
        let text = serde_json::to_string(&identity).unwrap();
        let read: Identity = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.coordinators[0].address.to_string(), "[fd00::1]:6445");
        assert!(!format!("{identity:?}").contains("PRIVATE KEY"));
    }

    #[test]
    fn kubeadm_is_read_as_every_version_wrote_it() {
        for (written, read) in [
            (r#""not_started""#, Kubeadm::NotStarted),
            (r#""started""#, Kubeadm::Started),
            (r#""failed""#, Kubeadm::Failed),
            (r#""done""#, Kubeadm::Done),
        ] {
            assert_eq!(serde_json::from_str::<Kubeadm>(written).unwrap(), read);
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
        let mut identity = serde_json::to_value(identity(&["10.0.0.1"])).unwrap();
        identity.as_object_mut().unwrap().remove("kubeadm");
        let identity: Identity = serde_json::from_value(identity).unwrap();
        assert_eq!(identity.kubeadm, Kubeadm::NotStarted);
    }
}
