//! Bootstrap tokens: their text, their Secret, the table of `token list`, and join commands.

use bootstrap::kubeadm::{
    BootstrapToken, CaPin, Expiration, JoinCommand, JoinRole, List, OsRandom, Secret, TokenError,
    TokenSecret, TokenSecretError, Usage, owner_token, short_human_duration, token_table,
};
use jiff::{SignedDuration, Timestamp};

use crate::support::{CLUSTERS, Chosen, as_created, bytes, items, kubectl_json, text};

fn tokens(cluster: &str) -> Vec<TokenSecret> {
    let list = text(&format!("{cluster}/bootstrap-tokens.secretlist.json"));
    let list: List<Secret> = List::parse(&list).unwrap();
    list.items.iter().map(|secret| TokenSecret::from_secret(secret).unwrap()).collect()
}

fn token() -> BootstrapToken {
    "abcdef.0123456789abcdef".parse().unwrap()
}

#[test]
fn a_token_is_read_and_generated_by_kubeadms_rules() {
    assert_eq!(token().to_text().as_str(), "abcdef.0123456789abcdef");
    assert_eq!(format!("{:?}", token()), "BootstrapToken(abcdef.<hidden>)");
    let error = |text: &str| text.parse::<BootstrapToken>().unwrap_err();
    assert_eq!(error("abcdef"), TokenError::NoDot);
    assert_eq!(
        error("abcde.0123456789abcdef"),
        TokenError::Length { part: "id", found: 5, expected: 6 }
    );
    assert_eq!(error("abcdeF.0123456789abcdef"), TokenError::Character { part: "id", position: 5 });
    assert_eq!(
        error("abcdef.0123456789abcde\n"),
        TokenError::Character { part: "secret", position: 15 }
    );
    assert_eq!(
        error("abcdef.0123456789abcdef0"),
        TokenError::Length { part: "secret", found: 17, expected: 16 }
    );

    // 252 to 255 are dropped, all others are taken modulo 36.
    let drawn = [252, 10, 255, 46, 254, 251, 0, 35, 36];
    let mut random = Chosen::new([drawn.as_slice(), &[1; 16]].concat());
    let generated = BootstrapToken::generate(&mut random).unwrap();
    assert_eq!(generated.to_text().as_str(), "aaz0z0.1111111111111111");
    assert!(BootstrapToken::generate(&mut Chosen::new([255; 4096])).is_err());
    let real = BootstrapToken::generate(&mut OsRandom).unwrap();
    assert_eq!(real.to_text().parse(), Ok(real.clone()));
    assert_ne!(real, BootstrapToken::generate(&mut OsRandom).unwrap());
}

#[test]
fn every_captured_token_is_written_again_to_the_same_secret() {
    for cluster in CLUSTERS {
        let list = text(&format!("{cluster}/bootstrap-tokens.secretlist.json"));
        for saved in items(&list) {
            let secret: Secret = serde_json::from_value(saved.clone()).unwrap();
            let whole = serde_json::to_value(&secret).unwrap();
            assert_eq!(kubectl_json(&whole), kubectl_json(&saved));

            let token = TokenSecret::from_secret(&secret).unwrap();
            let again = if token.usages.is_empty() {
                owner_token(&token.token, token.expiration.unwrap())
            } else {
                token.to_secret().unwrap()
            };
            assert_eq!(serde_json::to_value(again).unwrap(), as_created(saved));
        }
    }
}

#[test]
fn the_table_equals_kubeadms_byte_for_byte() {
    let captured =
        [("kubeadm-1.20", "2026-11-22T21:12:00Z"), ("kubeadm-1.36", "2026-11-22T22:01:00Z")];
    for (cluster, now) in captured {
        let table = token_table(&tokens(cluster), now.parse().unwrap());
        assert_eq!(table.as_str(), text(&format!("{cluster}/token-list.txt")));
    }
    assert_eq!(token_table(&[], Timestamp::UNIX_EPOCH).as_str(), "");
}

#[test]
fn a_description_cannot_rewrite_the_terminal() {
    let mut evil = TokenSecret::new(token(), None);
    evil.description = "\u{1b}[2J\tü".to_owned();
    let table = token_table(&[evil], Timestamp::UNIX_EPOCH);
    assert!(table.contains("?[2J?ü ") && !table.contains('\u{1b}'));
}

#[test]
fn what_is_left_is_shown_in_the_largest_unit() {
    let cases = [
        (-5_000, "<invalid>"),
        (-2_000, "<invalid>"),
        (-1_500, "0s"),
        (-1, "0s"),
        (0, "0s"),
        (59_900, "59s"),
        (60_000, "1m"),
        (3_599_000, "59m"),
        (3_600_000, "1h"),
        (86_399_000, "23h"),
        (86_400_000, "1d"),
        (31_535_999_000, "364d"),
        (31_536_000_000, "1y"),
    ];
    for (milliseconds, shown) in cases {
        assert_eq!(short_human_duration(SignedDuration::from_millis(milliseconds)), shown);
    }
}

#[test]
fn an_expiration_is_read_in_any_zone_and_shown_in_its_own() {
    let cases = [
        ("2026-11-23T21:11:17Z", "2026-11-23T21:11:17Z"),
        ("2026-11-23T22:11:17+01:00", "2026-11-23T22:11:17+01:00"),
        ("2026-11-23T17:41:17-03:30", "2026-11-23T17:41:17-03:30"),
        ("2026-11-23T21:11:17.999+00:00", "2026-11-23T21:11:17Z"),
    ];
    for (text, shown) in cases {
        let expiration: Expiration = text.parse().unwrap();
        assert_eq!(expiration.to_string(), shown);
        assert_eq!(expiration.at().as_second(), 1_795_468_277, "{text}");
    }
    for bad in [
        "",
        "soon",
        "2026-11-23",
        "2026-11-23 21:11:17Z",
        "2026-11-23T21:11:17",
        "2026-11-23T21:11:60Z",
        "2026-11-23T21:11:17.Z",
        "2026-11-23T21:11:17z",
        "2026-13-23T21:11:17Z",
        "2026-11-23T21:11:17+01:00[Europe/Berlin]",
        "2026-11-23T21:11:17+0100",
    ] {
        assert!(bad.parse::<Expiration>().is_err(), "{bad}");
    }
    let now: Timestamp = "2026-11-23T21:11:17.5Z".parse().unwrap();
    assert_eq!(Expiration::utc(now).to_string(), "2026-11-23T21:11:17Z");
}

#[test]
fn a_token_that_could_not_log_in_is_not_written() {
    let mut secret = TokenSecret::new(token(), None);
    secret.groups = vec!["system:masters".to_owned()];
    assert!(matches!(secret.to_secret(), Err(TokenSecretError::Group { .. })));
    secret.groups = vec!["system:bootstrappers:a-".to_owned()];
    assert!(matches!(secret.to_secret(), Err(TokenSecretError::Group { .. })));
    secret.groups = vec!["system:bootstrappers:worker:1".to_owned()];
    assert!(secret.to_secret().is_ok());
    secret.usages.remove(&Usage::AUTHENTICATION);
    assert_eq!(secret.to_secret(), Err(TokenSecretError::GroupsWithoutAuthentication));
    assert_eq!("signing".parse(), Ok(Usage::SIGNING));
    assert!("sign".parse::<Usage>().is_err());
}

#[test]
fn a_secret_that_is_no_token_is_refused() {
    let good = TokenSecret::new(token(), None).to_secret().unwrap();
    let refused = |change: &dyn Fn(&mut Secret)| {
        let mut secret = good.clone();
        change(&mut secret);
        TokenSecret::from_secret(&secret).unwrap_err()
    };
    assert!(matches!(
        refused(&|secret| secret.secret_type = Some("Opaque".to_owned())),
        TokenSecretError::OtherType { .. }
    ));
    assert!(matches!(
        refused(&|secret| secret.metadata.name = "bootstrap-token-fedcba".to_owned()),
        TokenSecretError::OtherName { .. }
    ));
    assert!(matches!(
        refused(&|secret| secret.data.insert("token-secret", "")),
        TokenSecretError::MissingEntry { entry: "token-secret", .. }
    ));
    let error = refused(&|secret| secret.data.insert("token-secret", "Hush!"));
    assert!(matches!(error, TokenSecretError::Token { .. }) && !error.to_string().contains("Hush"));
    assert!(matches!(
        refused(&|secret| secret.data.insert("expiration", "soon")),
        TokenSecretError::Expiration { .. }
    ));
    assert!(matches!(
        refused(&|secret| secret.data.insert("expiration", [0xff])),
        TokenSecretError::Expiration { .. }
    ));
    // Anything but `true` is no usage.
    let mut secret = good.clone();
    secret.data.insert("usage-bootstrap-signing", "yes");
    let usages = TokenSecret::from_secret(&secret).unwrap().usages;
    assert!(!usages.contains(&Usage::SIGNING) && usages.contains(&Usage::AUTHENTICATION));
}

#[test]
fn join_commands_equal_kubeadms_byte_for_byte() {
    for (cluster, version) in [("kubeadm-1.20", "1.20.2"), ("kubeadm-1.36", "1.36.2")] {
        let printed = text(&format!("{cluster}/print-join-command.txt"));
        let token = printed.split_whitespace().nth(4).unwrap().parse().unwrap();
        let pins = CaPin::of_bundle(&bytes(&format!("{cluster}/pki-master0/ca.crt"))).unwrap();
        let command = JoinCommand {
            address: "10.77.0.10:6443",
            token: &token,
            pins: &pins,
            role: JoinRole::Worker,
        };
        let line = command.render(&version.parse().unwrap());
        assert_eq!(format!("{}\n", *line), printed);
    }
}

#[test]
fn the_control_plane_form_says_what_kubeadm_init_says() {
    let output = text("kubeadm-1.20/init-output.txt");
    let start = output.find("kubeadm join").unwrap();
    let end = output.find("\nPlease note").unwrap();
    let printed = output[start..end].replace("\\\n", "");

    let word = |number| printed.split_whitespace().nth(number).unwrap();
    let (token, key) = (word(4).parse().unwrap(), word(9).parse().unwrap());
    let pins = CaPin::of_bundle(&bytes("kubeadm-1.20/pki-master0/ca.crt")).unwrap();
    let role = JoinRole::ControlPlane(&key);
    let command = JoinCommand { address: word(2), token: &token, pins: &pins, role };
    let render = |version: &str| command.render(&version.parse().unwrap()).to_string();
    assert_eq!(render("1.20.2"), printed.trim_end());
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&render("1.36.2")), words(&printed));
    assert!(!render("1.36.2").contains("  "));
    assert!(render("1.14").contains(" --experimental-control-plane --certificate-key "));
}
