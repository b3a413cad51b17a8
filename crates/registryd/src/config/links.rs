//! Environment variables that Kubernetes and Docker inject for a service called `registry…`.

/// Whether `name` (with `value`) is one of the variables that describe a service to its neighbours:
/// `X_SERVICE_HOST`, `X_SERVICE_PORT[_NAME]`, `X_PORT=tcp://…`, `X_PORT_5000_TCP[_ADDR|_PORT|_PROTO]`.
/// For a service called `registry` or `registry-auth` they begin with `REGISTRY_`, and nobody wrote
/// them.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") {
        return true;
    }
    if let Some((_, rest)) = name.rsplit_once("_SERVICE_PORT") {
        return rest.is_empty() || rest.starts_with('_');
    }
    if name.ends_with("_PORT") && is_endpoint(value) {
        return true;
    }
    name.match_indices("_PORT_").any(|(at, separator)| {
        let rest = name.get(at + separator.len()..).unwrap_or_default();
        let mut parts = rest.split('_');
        let number = parts.next().unwrap_or_default();
        let protocol = parts.next().unwrap_or_default();
        !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
            && matches!(protocol, "TCP" | "UDP" | "SCTP")
            && matches!(parts.next(), None | Some("ADDR" | "PORT" | "PROTO"))
            && parts.next().is_none()
    })
}

fn is_endpoint(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_from_settings() {
        for (name, value) in [
            ("REGISTRY_SERVICE_HOST", "10.43.0.7"),
            ("REGISTRY_SERVICE_PORT", "5000"),
            ("REGISTRY_SERVICE_PORT_HTTP", "5000"),
            ("REGISTRY_SERVICE_PORT", "tcp://10.43.0.7:5000"),
            ("REGISTRY_PORT", "tcp://10.43.0.7:5000"),
            ("REGISTRY_PORT_5000_TCP", "tcp://10.43.0.7:5000"),
            ("REGISTRY_PORT_5000_TCP_ADDR", "10.43.0.7"),
            ("REGISTRY_PORT_5000_TCP_PORT", "5000"),
            ("REGISTRY_PORT_5000_TCP_PROTO", "tcp"),
            ("REGISTRY_PORT_53_UDP_ADDR", "10.43.0.7"),
            ("REGISTRY_AUTH_PORT", "tcp://10.43.0.8:5001"),
            ("REGISTRY_AUTH_PORT_5001_TCP", "tcp://10.43.0.8:5001"),
        ] {
            assert!(is_service_link(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("REGISTRY_PORT", "5000"),
            ("REGISTRY_HTTP_ADDR", "tcp://0.0.0.0:5000"),
            ("REGISTRY_PORT_HTTP_TCP", ""),
            ("REGISTRY_PORT_5000_TCP_ELSE", ""),
            ("REGISTRY_PORT_5000_TCP_ADDR_X", ""),
            ("REGISTRY_AUTH_TOKEN_SERVICE", "registry"),
            ("REGISTRY_SERVICE_PORTS", ""),
        ] {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
    }
}
