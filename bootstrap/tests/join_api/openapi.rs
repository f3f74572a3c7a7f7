//! `docs/join-protocol.openapi.json` says what the code does: the same requests, refusals, fields
//! and variants. Whoever changes one side alone fails here.

use bootstrap::api::table::{Call, MemberCall, ROUTES, Route};
use bootstrap::protocol::{
    ClusterFacts, Credentials, Done, Heartbeat, HeartbeatAnswer, Intent, JoinAnswer, JoinOutcome,
    JoinPhase, JoinRequest, Leave, Made, Refusal, Registered, Registration, Renewal, Task, Work,
    WorkOutcome, WorkResult,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::schema::{Document, keys, keys_of};

const PAGE: &str = include_str!("../../../docs/join-protocol.md");

/// The last part of a type's name.
fn name_of<T>() -> &'static str {
    std::any::type_name::<T>().rsplit("::").next().unwrap()
}

/// The schemas of body and answer of a request.
pub(crate) fn bodies(call: Call) -> (Option<&'static str>, &'static str) {
    let done = name_of::<Done>();
    match call {
        Call::Live => (None, done),
        Call::Register => (Some(name_of::<Registration>()), name_of::<Registered>()),
        Call::Member(call) => match call {
            MemberCall::Heartbeat => (Some(name_of::<Heartbeat>()), name_of::<HeartbeatAnswer>()),
            MemberCall::Renew => (Some(name_of::<Renewal>()), name_of::<Registered>()),
            MemberCall::Leave => (Some(name_of::<Leave>()), done),
            MemberCall::Work => (Some(name_of::<WorkResult>()), done),
            MemberCall::Cluster => (None, name_of::<ClusterFacts>()),
            MemberCall::Learn => (Some(name_of::<ClusterFacts>()), done),
            MemberCall::Join => (Some(name_of::<JoinRequest>()), name_of::<JoinAnswer>()),
            MemberCall::Outcome => (Some(name_of::<JoinOutcome>()), done),
        },
    }
}

/// The name of the schema of a JSON body.
fn named(body: &Value) -> Option<&str> {
    let reference = body.pointer("/content/application~1json/schema/$ref")?.as_str().unwrap();
    Some(reference.strip_prefix("#/components/schemas/").unwrap())
}

fn operation<'a>(document: &'a Document, route: &Route) -> &'a Value {
    let path = route.path.replace('/', "~1");
    document.at(&format!("/paths/{path}/{}", route.method.to_lowercase()))
}

#[test]
fn every_request_is_documented_and_there_is_no_other() {
    let document = Document::read();
    let mut documented = Vec::new();
    for (path, methods) in document.at("/paths").as_object().unwrap() {
        documented.extend(keys(methods).iter().map(|it| format!("{} {path}", it.to_uppercase())));
    }
    let mut there: Vec<_> = ROUTES.iter().map(|it| format!("{} {}", it.method, it.path)).collect();
    documented.sort();
    there.sort();
    assert_eq!(documented, there);
    for request in there {
        assert!(PAGE.contains(&format!("| `{request}` |")), "join-protocol.md lacks {request}");
    }
}

#[test]
fn callers_bodies_and_refusals_are_those_of_the_code() {
    let document = Document::read();
    for route in ROUTES {
        let (path, told) = (route.path, operation(&document, route));
        let security = match route.call {
            Call::Live => json!([]),
            Call::Register => json!([{"ticket": []}, {}]),
            Call::Member(_) => json!([{"member": []}]),
        };
        assert_eq!(told["security"], security, "{path}");
        let (body, answer) = bodies(route.call);
        assert_eq!(told.get("requestBody").and_then(named), body, "{path}");
        assert_eq!(named(&told["responses"]["200"]), Some(answer), "{path}");
        let refusals: Vec<_> =
            keys(&told["responses"]).into_iter().filter(|status| status != "200").collect();
        let ours: Vec<_> = route.refusals.iter().map(|it| it.as_str().to_owned()).collect();
        assert_eq!(refusals, ours, "{path}");
        for status in refusals {
            let refusal = document.meant(&told["responses"][&status]);
            assert_eq!(named(refusal), Some(name_of::<Refusal>()), "{path} {status}");
            assert!(PAGE.contains(&format!("| {status} |")), "join-protocol.md lacks {status}");
        }
    }
}

#[test]
fn every_type_of_the_protocol_has_its_schema() {
    let source = include_str!("../../src/protocol.rs");
    let mut types: Vec<_> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub struct ").or(line.strip_prefix("pub enum ")))
        .map(|rest| rest.split(' ').next().unwrap().to_owned())
        // Its fields are those of the work.
        .filter(|name| name != name_of::<Task>())
        .collect();
    types.sort();
    assert_eq!(Document::read().names(), types);
}

/// The shape of a schema that this value has, and whether the code sees it the same way: each
/// field, whether it may be left out, whether one more is refused.
fn compare<T: Serialize + DeserializeOwned>(document: &Document, value: &T) {
    let name = name_of::<T>();
    let value = serde_json::to_value(value).unwrap();
    let schema = document.schema(name);
    let shape = document.shape(schema, &value);
    let shape = shape.unwrap_or_else(|| panic!("{name}: {:?}", document.faults(schema, &value)));
    if value.is_string() {
        return;
    }
    assert_eq!(keys(&value), keys(&shape["properties"]), "{name}: fields");
    let takes = |value: Value| serde_json::from_value::<T>(value).is_ok();
    assert!(takes(value.clone()), "{name}");
    for field in keys(&value) {
        let mut without = value.clone();
        without.as_object_mut().unwrap().remove(&field);
        let required = keys_of(&shape["required"]).contains(&field);
        assert_eq!(takes(without), !required, "{name}: is {field} required?");
    }
    let mut more = value;
    more.as_object_mut().unwrap().insert("not_known_at_all".into(), json!(1));
    let open = shape["additionalProperties"].as_bool().unwrap();
    assert_eq!(takes(more), open, "{name}: is an unknown field taken?");
}

fn text() -> String {
    "text".to_owned()
}

fn made() -> Made {
    Made { token_id: text(), owner_id: text(), certs_uid: Some(text()) }
}

#[test]
fn what_masters_send_has_the_documented_fields() {
    let document = Document::read();
    let registration = Registration {
        name: text(),
        address: Some([10, 0, 0, 1].into()),
        port: 6443,
        csr: text(),
        cluster_ca: Some(text()),
        intent: Intent::Init,
        force: true,
    };
    compare(&document, &registration);
    compare(&document, &Heartbeat { draining: true, can_issue: true, seen: Some(text()) });
    compare(&document, &Renewal { csr: text() });
    compare(&document, &Leave {});
    compare(&document, &ClusterFacts { ca: Some(text()), kubeconfig: Some(text().into()) });
    compare(
        &document,
        &JoinRequest { sealing_key: text(), turn_only: true, seen: Some(JoinPhase::Ready) },
    );
    compare(&document, &JoinOutcome { joined: false, reason: text() });
    let issued = || WorkOutcome::Issued { sealed: text(), made: made() };
    compare(&document, &issued());
    compare(&document, &WorkOutcome::Revoked);
    compare(&document, &WorkOutcome::Failed { reason: text(), wait: true });
    compare(&document, &WorkResult { id: 1, result: issued() });
    compare(&document, &made());
    let credentials = Credentials {
        endpoint: text(),
        token: text().into(),
        ca_cert_hashes: vec![text()],
        certificate_key: text().into(),
    };
    compare(&document, &credentials);
}

#[test]
fn what_the_coordinator_answers_has_the_documented_fields() {
    let document = Document::read();
    let registered = Registered {
        name: text(),
        address: ([10, 0, 0, 1], 6443).into(),
        certificate: text(),
        valid_for_seconds: 1,
        coordinator_ca: text(),
        endpoint: text(),
        cluster_ca: Some(text()),
    };
    compare(&document, &registered);
    let issue = || Work { id: 1, task: Task::Issue { joiner: text(), sealing_key: text() } };
    compare(&document, &HeartbeatAnswer { state: text(), why: text(), work: Some(issue()) });
    compare(&document, &issue());
    compare(&document, &Work { id: 2, task: Task::Revoke { made: made() } });
    let answer = JoinAnswer {
        phase: JoinPhase::Ready,
        position: 0,
        message: text(),
        deadline_seconds: Some(1),
        credentials: Some(text()),
    };
    compare(&document, &answer);
    compare(&document, &Done {});
    compare(&document, &Refusal { error: text() });
}

/// All variants of an enum, by the words of serde about one that does not exist.
fn variants<T: DeserializeOwned>(unknown: Value) -> Vec<String> {
    let Err(error) = serde_json::from_value::<T>(unknown) else { panic!("`?` is a variant") };
    let said = error.to_string();
    let (_, expected) = said.split_once("expected ").unwrap();
    let mut names: Vec<_> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn the_variants_are_the_documented_ones() {
    let document = Document::read();
    let listed = |name: &str| {
        let mut names = keys_of(&document.schema(name)["enum"]);
        names.sort();
        names
    };
    assert_eq!(variants::<Intent>(json!("?")), listed(name_of::<Intent>()));
    assert_eq!(variants::<JoinPhase>(json!("?")), listed(name_of::<JoinPhase>()));
    let shapes = |name: &str, word: fn(&Value) -> String| {
        let mut names: Vec<_> =
            document.schema(name)["oneOf"].as_array().unwrap().iter().map(word).collect();
        names.sort();
        names
    };
    let task = |shape: &Value| shape["properties"]["task"]["const"].as_str().unwrap().to_owned();
    assert_eq!(variants::<Task>(json!({"task": "?"})), shapes(name_of::<Work>(), task));
    let outcome = |shape: &Value| match shape.get("const") {
        Some(word) => word.as_str().unwrap().to_owned(),
        None => keys(&shape["properties"]).remove(0),
    };
    assert_eq!(variants::<WorkOutcome>(json!("?")), shapes(name_of::<WorkOutcome>(), outcome));
}
