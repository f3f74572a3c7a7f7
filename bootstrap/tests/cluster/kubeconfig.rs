//! Which kubeconfig counts.

use std::path::{Path, PathBuf};

use bootstrap::cluster::{Access, AccessError, KubeconfigFiles};

/// A kubeconfig of one cluster, the current one.
fn write(path: &Path, server: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {server}\n\
         clusters: [{{name: {server}, cluster: {{server: 'https://{server}:6443/'}}}}]\n\
         contexts: [{{name: {server}, context: {{cluster: {server}}}}}]\n"
    );
    std::fs::write(path, text).unwrap();
}

#[test]
fn the_first_place_that_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (first, second) = (at("first"), at("second"));
    let both = std::env::join_paths([&first, &at("missing"), &second]).unwrap();
    let mut files = KubeconfigFiles {
        flag: None,
        environment: Some(both),
        home: Some(at("home")),
        admin_conf: Some(at("admin.conf")),
    };
    let tried = [first.clone(), at("missing"), second.clone(), at("admin.conf")].to_vec();
    assert_eq!(files.find(), Err(AccessError::NoKubeconfig { tried }));
    write(&at("admin.conf"), "master");
    assert_eq!(files.find(), Ok(vec![at("admin.conf")]), "the last resort");
    write(&at("home/.kube/config"), "home");
    assert_eq!(files.find(), Ok(vec![at("admin.conf")]), "KUBECONFIG hides the home directory");
    write(&first, "lb");
    write(&second, "other");
    assert_eq!(files.find(), Ok(vec![first, second]));
    files.environment = Some(":".into());
    assert_eq!(files.find(), Ok(vec![at("home/.kube/config")]));
    files.flag = Some("anything".into());
    assert_eq!(files.find(), Ok(vec![PathBuf::from("anything")]));
}

#[test]
fn of_merged_files_the_first_context_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("a"), directory.path().join("b"));
    write(&first, "lb");
    write(&second, "other");
    let access = Access::load(&[first, second]).unwrap();
    assert_eq!(access.server(), "https://lb:6443");
    assert_eq!(access.join_address(), "lb:6443");
    assert_eq!(access.pins(), Err(AccessError::NoAuthority));
}
