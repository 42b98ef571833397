//! The proxy that the environment names for AWS, as other programs read it.
//!
//! Owns the variables. Only `https://` is sent through a proxy: servers on a network of one's own and the sources
//! of credentials on a machine (metadata of instances and containers) speak `http://`, and are reached directly.

use aws_smithy_http_client::proxy::ProxyConfig;

use crate::error::{Error, ErrorKind, Result};

/// In the order in which they count.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const DIRECT: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// What a proxy cannot reach on behalf of this machine: its own addresses, and those that mean it alone.
const OF_THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1/128,169.254.0.0/16,fd00:ec2::/32";

/// The proxy for `https://`; `None` where `variable` names none. `ALL_PROXY` is for other programs too, and may name one
/// of another protocol (`socks5://`): that is a warning. Where the store is not `needed` to be reached by it, one that
/// cannot be used is passed over.
///
/// # Errors
/// [`ErrorKind::Config`] where a variable has no URL. It is not shown, since proxies' passwords are in them.
pub(super) fn proxy(
    variable: impl Fn(&str) -> Option<String>,
    needed: bool,
) -> Result<Option<ProxyConfig>> {
    let given = |name: &&'static str| {
        let text = variable(name).filter(|text| !text.trim().is_empty())?;
        Some((*name, text.trim().to_owned()))
    };
    let Some((name, url)) = PROXY.iter().find_map(given) else { return Ok(None) };
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    let speaks_http = url.starts_with("http://") || url.starts_with("https://");
    let Ok(proxy) = ProxyConfig::https(url) else {
        let wrong = format!(
            "the environment variable {name} is no URL of an HTTP proxy; use one such as \
             http://proxy.example.com:3128, or unset it"
        );
        return match needed {
            false => Ok(None),
            true if !speaks_http && name.eq_ignore_ascii_case("ALL_PROXY") => {
                tracing::warn!("the store is reached directly: {wrong}");
                Ok(None)
            }
            true => Err(Error::new(ErrorKind::Config, wrong)),
        };
    };
    let direct = DIRECT.iter().find_map(given).map(|(_, hosts)| hosts);
    let direct = direct.into_iter().chain([OF_THIS_MACHINE.to_owned()]).collect::<Vec<_>>();
    Ok(Some(proxy.no_proxy(direct.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<String>> {
        let all = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, text)| (*text).to_owned())
        };
        proxy(all, true).map(|proxy| proxy.map(|proxy| format!("{proxy:?}")))
    }

    #[test]
    fn the_variables_are_read_as_others_read_them() {
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[("HTTPS_PROXY", ""), ("HTTP_PROXY", "http://proxy:1")]).unwrap(), None);
        for variable in PROXY {
            let found = of(&[(variable, "proxy:3128")]).unwrap().unwrap();
            assert!(found.contains("proxy:3128"), "{variable}: {found}");
            assert!(found.contains("127.0.0.0/8"), "{variable}: {found}");
        }
        let found = of(&[("https_proxy", "http://a:1"), ("NO_PROXY", "example.com")]);
        assert!(found.unwrap().unwrap().contains("example.com,localhost"));
        let error = of(&[("HTTPS_PROXY", "ftp://me:wJalrXUtnFEMI@proxy")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
        assert!(!error.to_string().contains("wJalr"), "{error}");
    }

    /// It used to stop every run, those that no proxy is for included.
    #[test]
    fn a_proxy_that_is_not_for_http_stops_only_those_who_ask_for_it() {
        for (variable, url, refused) in [
            ("ALL_PROXY", "socks5://localhost:1080", false),
            ("all_proxy", "socks5h://localhost:1080", false),
            ("ALL_PROXY", "http://", true),
            ("HTTPS_PROXY", "socks5://localhost:1080", true),
        ] {
            let found = of(&[(variable, url)]);
            assert_eq!(found.is_err(), refused, "{variable}={url}");
            assert_eq!(found.unwrap_or(None), None, "{variable}={url}");
            let found = proxy(|name| (name == variable).then(|| url.to_owned()), false);
            assert!(found.unwrap().is_none(), "{variable}={url}");
        }
    }
}
