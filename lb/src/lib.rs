//! The balancer: listen, pick, dial, relay. Knows nothing of Kubernetes objects or secrets.
