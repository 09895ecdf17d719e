//! The way that a request came: what its sender can only claim, and what a proxy in front may add.
//!
//! A proxy appends the address that it sees to `X-Forwarded-For`, so of that header the last entry is the proxy's
//! own and everything before it may be made up. `Forwarded` is not read: a proxy that writes the one header hands
//! on the other as it came from the client.

use std::net::{IpAddr, SocketAddr};

use actix_web::{HttpRequest, http::header};

/// Where a request comes from: the peer, or what a trusted proxy says.
#[must_use]
pub fn address(req: &HttpRequest, trust_proxy: bool) -> IpAddr {
    let peer = req.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    let named = last(req, "x-forwarded-for", trust_proxy).and_then(|text| {
        let bare = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
        bare.or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
    });
    named.unwrap_or(peer)
}

/// Whether the client has spoken TLS to a trusted proxy.
#[must_use]
pub fn is_https(req: &HttpRequest, trust_proxy: bool) -> bool {
    last(req, "x-forwarded-proto", trust_proxy).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// The host that the client has asked.
#[must_use]
pub fn host(req: &HttpRequest, trust_proxy: bool) -> Option<&str> {
    let asked = || req.headers().get(header::HOST)?.to_str().ok();
    last(req, "x-forwarded-host", trust_proxy).or_else(asked)
}

/// The last entry of a header that a proxy adds to.
fn last<'r>(req: &'r HttpRequest, name: &str, trust_proxy: bool) -> Option<&'r str> {
    let value = req.headers().get_all(name).last().filter(|_| trust_proxy)?;
    value.to_str().ok()?.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::{address, host, is_https};

    const XFF: &str = "X-Forwarded-For";

    #[test]
    fn only_the_entry_of_the_proxy_counts() {
        let from = |headers: &[(&str, &str)], trust| {
            let peer = "10.0.0.1:5000".parse().unwrap();
            let request =
                headers.iter().fold(TestRequest::default().peer_addr(peer), |r, h| r.append_header(*h));
            address(&request.to_http_request(), trust).to_string()
        };
        let forwarded = ("Forwarded", "for=6.6.6.6");
        for (headers, expected) in [
            (&[(XFF, "203.0.113.7")][..], "203.0.113.7"),
            (&[(XFF, "6.6.6.6, 203.0.113.7")], "203.0.113.7"),
            (&[(XFF, "6.6.6.6"), (XFF, "203.0.113.7")], "203.0.113.7"),
            (&[forwarded, (XFF, "203.0.113.7")], "203.0.113.7"),
            (&[forwarded], "10.0.0.1"),
            (&[(XFF, "203.0.113.7:443")], "203.0.113.7"),
            (&[(XFF, "2001:db8::1")], "2001:db8::1"),
            (&[(XFF, "[2001:db8::1]:443")], "2001:db8::1"),
            (&[(XFF, "[2001:db8::1]")], "2001:db8::1"),
            (&[(XFF, "203.0.113.7, unknown")], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(from(headers, true), expected, "{headers:?}");
            assert_eq!(from(headers, false), "10.0.0.1", "{headers:?}");
        }
    }

    #[test]
    fn scheme_and_host_are_believed_of_a_trusted_proxy_alone() {
        let request = TestRequest::default()
            .insert_header(("Host", "here.example"))
            .insert_header(("X-Forwarded-Host", "there.example"))
            .insert_header(("X-Forwarded-Proto", "http, https"))
            .to_http_request();
        assert_eq!((host(&request, false), is_https(&request, false)), (Some("here.example"), false));
        assert_eq!((host(&request, true), is_https(&request, true)), (Some("there.example"), true));
    }
}
