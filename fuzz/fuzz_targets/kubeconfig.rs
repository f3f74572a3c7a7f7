//! YAML from a cluster or an operator: kubeconfig, `cluster-info`, `kubeadm-config`.
#![no_main]

use bootstrap::kubeadm::{ClusterAccess, ClusterConfiguration, ClusterInfo, ConfigMap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = ClusterAccess::current(text);
    let _ = ClusterAccess::only(text);
    let _ = ClusterConfiguration::parse(text);
    if let Ok(map) = ConfigMap::parse(text) {
        let _ = ClusterConfiguration::from_config_map(&map);
        let _ = ClusterInfo::from_config_map(&map).map(|info| info.pins().is_ok());
    }
});
