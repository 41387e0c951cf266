//! Where redirects lead, and who may know the token. Pure.

use reqwest::Url;

use super::fault::Fault;

/// Where a redirect leads.
pub(super) fn follow(from: &Url, to: &str) -> Result<Url, Fault> {
    let shown: String = to.split('?').next().unwrap_or_default().escape_default().take(200).collect();
    let bad = || Fault::BadRedirect(format!("`{shown}`"));
    let next = from.join(to).map_err(|_| bad())?;
    let sound = !to.is_empty() && matches!(next.scheme(), "http" | "https") && next.username().is_empty();
    if !sound || (from.scheme() == "https" && next.scheme() == "http") {
        return Err(bad());
    }
    Ok(next)
}

/// Whether both are the same server, by the same way.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    (a.scheme(), a.host_str(), a.port_or_known_default())
        == (b.scheme(), b.host_str(), b.port_or_known_default())
}

/// Whether nobody on the way can read along.
pub(super) fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_http_only_and_never_out_of_tls() {
        let from: Url = "https://hub/a/b/resolve/c/d".parse().unwrap();
        assert_eq!(follow(&from, "/new/name").unwrap().as_str(), "https://hub/new/name");
        assert_eq!(follow(&from, "https://cdn/x?sig=1").unwrap().host_str(), Some("cdn"));
        for bad in ["", "http://cdn/x", "file:///etc/passwd", "ftp://x/", "https://me@cdn/", "https://"] {
            let fault = follow(&from, bad).unwrap_err();
            assert!(!fault.to_string().contains("sig="), "{bad}: {fault}");
        }
    }
}
