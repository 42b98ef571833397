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

/// The proxy for `https://`; `None` where `variable` names none.
///
/// # Errors
/// [`ErrorKind::Config`] where a variable has no URL. It is not shown, since proxies' passwords are in them.
pub(super) fn proxy(variable: impl Fn(&str) -> Option<String>) -> Result<Option<ProxyConfig>> {
    let given = |name: &&'static str| {
        let text = variable(name).filter(|text| !text.trim().is_empty())?;
        Some((*name, text.trim().to_owned()))
    };
    let Some((name, url)) = PROXY.iter().find_map(given) else { return Ok(None) };
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    let proxy = ProxyConfig::https(url).map_err(|_| {
        let message = format!(
            "the environment variable {name} is no URL of a proxy; use one such as \
             http://proxy.example.com:3128, or unset it"
        );
        Error::new(ErrorKind::Config, message)
    })?;
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
        proxy(all).map(|proxy| proxy.map(|proxy| format!("{proxy:?}")))
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
}
