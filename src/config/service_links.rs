//! Variables that Kubernetes puts into each pod for a Service whose name begins with `millpond`: no settings
//! of ours, and no typing errors either.
//!
//! ```text
//! MILLPOND_SERVICE_HOST=10.0.0.7          MILLPOND_PORT=tcp://10.0.0.7:8081
//! MILLPOND_SERVICE_PORT[_NAME]=8081       MILLPOND_PORT_8081_TCP[_PROTO|_PORT|_ADDR]=…
//! ```

use super::keys::ENV_PREFIX;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether a variable has exactly the form of one of these. `…_PORT` could be a setting, too, and is recognised
/// by its text.
pub(super) fn is_one(name: &str, text: &str) -> bool {
    // With the underscore in front: the Service may be called just so.
    let Some(rest) = name.strip_prefix(ENV_PREFIX.trim_end_matches('_')) else { return false };
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || rest.ends_with("_PORT") && is_url(text)
        || rest.split("_PORT_").skip(1).any(is_port)
}

/// `tcp://…`
fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_uppercase());
    scheme.is_some_and(|scheme| PROTOCOLS.contains(&scheme.as_str()))
}

/// `8081_TCP`, and what may follow.
fn is_port(text: &str) -> bool {
    let mut words = text.split('_');
    let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    let protocol = words.next().is_some_and(|word| PROTOCOLS.contains(&word));
    let detail = matches!(words.next(), None | Some("PROTO" | "PORT" | "ADDR"));
    number && protocol && detail && words.next().is_none()
}

/// Says once that they are passed over.
pub(super) fn tell(links: &[&(String, String)]) {
    if !links.is_empty() {
        let names: Vec<_> = links.iter().map(|(name, _)| name.as_str()).collect();
        tracing::warn!(
            "passed over, since Kubernetes sets them for a Service and they are no settings: {}; \
             `enableServiceLinks: false` in the pod leaves them out",
            names.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    const LINKS: [(&str, &str); 9] = [
        ("MILLPOND_SERVICE_HOST", "10.0.0.7"),
        ("MILLPOND_SERVICE_PORT", "8081"),
        ("MILLPOND_SERVICE_PORT_REST", "8081"),
        ("MILLPOND_PORT", "tcp://10.0.0.7:8081"),
        ("MILLPOND_PORT_8081_TCP", "tcp://10.0.0.7:8081"),
        ("MILLPOND_PORT_8081_TCP_PROTO", "tcp"),
        ("MILLPOND_PORT_8081_TCP_PORT", "8081"),
        ("MILLPOND_PORT_8081_TCP_ADDR", "10.0.0.7"),
        // Of a Service that is called millpond-rest: a setting by its name.
        ("MILLPOND_REST_PORT", "tcp://10.0.0.7:8081"),
    ];

    fn sources(variables: &[(&str, &str)]) -> Sources {
        let environment = variables.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        Sources { environment: environment.collect(), ..Sources::default() }
    }

    /// They used to stop every start.
    #[test]
    fn what_kubernetes_sets_for_a_service_stops_no_start() {
        assert_eq!(load(&sources(&LINKS)).unwrap(), load(&Sources::default()).unwrap());
    }

    #[test]
    fn what_only_looks_like_it_is_an_error_still() {
        for (name, text) in [
            ("MILLPOND_PORT", "8081"),
            ("MILLPOND_REST_PROT", "8081"),
            ("MILLPOND_RST_PORT", "8081"),
            ("MILLPOND_SERVICE_HOSTS", "10.0.0.7"),
            ("MILLPOND_PORT_8081", "1"),
            ("MILLPOND_PORT_HTTP_TCP", "1"),
            ("MILLPOND_PORT_8081_TCP_ADRR", "1"),
        ] {
            assert!(!is_one(name, text), "{name}");
            let error = load(&sources(&[(name, text)])).unwrap_err().to_string();
            assert!(
                error.contains(&format!("environment variable {name} is no setting")),
                "{error}"
            );
        }
        assert!(!is_one("ELSEWHERE_SERVICE_HOST", "10.0.0.7"));
    }
}
