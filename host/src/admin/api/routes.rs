//! The routes of the admin listener.

use http::Method;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiRoute {
    Page,
    Style,
    Script,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Log,
    SetLog,
    Stream,
    Requests,
    Apps,
    Deploy,
    Promote,
    Abort,
    RollBack,
    Reload,
    Queues,
    Push,
    Take,
    Purge,
    Topics,
    Publish,
}

impl ApiRoute {
    /// Whether it tells and changes nothing: it needs no token.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Page | Self::Style | Self::Script | Self::Live | Self::Ready)
    }
}

/// All of them, with paths as `openapi.json` writes them.
const ROUTES: [(&str, &str, ApiRoute); 23] = [
    ("GET", "/", ApiRoute::Page),
    ("GET", "/dashboard.css", ApiRoute::Style),
    ("GET", "/dashboard.js", ApiRoute::Script),
    ("GET", "/livez", ApiRoute::Live),
    ("GET", "/readyz", ApiRoute::Ready),
    ("GET", "/metrics", ApiRoute::Metrics),
    ("GET", "/openapi.json", ApiRoute::OpenApi),
    ("GET", "/log", ApiRoute::Log),
    ("PUT", "/log", ApiRoute::SetLog),
    ("GET", "/stream", ApiRoute::Stream),
    ("GET", "/requests", ApiRoute::Requests),
    ("GET", "/apps", ApiRoute::Apps),
    ("PUT", "/apps/{app}", ApiRoute::Deploy),
    ("POST", "/apps/{app}/promote", ApiRoute::Promote),
    ("POST", "/apps/{app}/abort", ApiRoute::Abort),
    ("POST", "/apps/{app}/rollback", ApiRoute::RollBack),
    ("POST", "/reload", ApiRoute::Reload),
    ("GET", "/queues", ApiRoute::Queues),
    ("POST", "/queues/{queue}", ApiRoute::Push),
    ("DELETE", "/queues/{queue}", ApiRoute::Purge),
    ("POST", "/queues/{queue}/take", ApiRoute::Take),
    ("GET", "/topics", ApiRoute::Topics),
    ("POST", "/topics/{topic}", ApiRoute::Publish),
];

/// What there is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundRoute<'a> {
    /// This, with the names that the path has.
    Route(ApiRoute, Vec<&'a str>),
    /// Something for these other methods.
    OtherMethods(Vec<&'static str>),
    Nothing,
}

pub(super) fn find<'a>(method: &Method, path: &'a str) -> FoundRoute<'a> {
    let here = || {
        ROUTES.iter().filter_map(|&(method, template, route)| Some((method, route, names(template, path)?)))
    };
    // Who may read may ask how long it would be.
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    if let Some((_, route, names)) = here().find(|&(method, ..)| method == asked) {
        return FoundRoute::Route(route, names);
    }
    let others: Vec<_> = here().map(|(method, ..)| method).collect();
    if others.is_empty() { FoundRoute::Nothing } else { FoundRoute::OtherMethods(others) }
}

/// The names in a path that fits.
fn names<'a>(template: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut names, mut parts) = (Vec::new(), path.split('/'));
    for wanted in template.split('/') {
        let part = parts.next()?;
        if wanted.starts_with('{') {
            names.push(part);
        } else if wanted != part {
            return None;
        }
    }
    parts.next().is_none().then_some(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn path_leads_to_its_route_with_its_names() {
        assert_eq!(find(&Method::PUT, "/apps/a"), FoundRoute::Route(ApiRoute::Deploy, vec!["a"]));
        assert_eq!(find(&Method::HEAD, "/livez"), FoundRoute::Route(ApiRoute::Live, vec![]));
        assert_eq!(find(&Method::GET, "/queues/q"), FoundRoute::OtherMethods(vec!["POST", "DELETE"]));
        for nothing in ["", "/apps/a/b", "/apps/", "/livez/"] {
            let found = find(&Method::GET, nothing);
            assert!(
                matches!(found, FoundRoute::Nothing | FoundRoute::OtherMethods(_)),
                "{nothing}: {found:?}"
            );
        }
    }

    #[test]
    fn document_has_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let documented = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.to_ascii_uppercase(), path.clone()))
        });
        let known = ROUTES.iter().map(|&(method, path, _)| (method.to_owned(), path.to_owned())).collect();
        assert_eq!(documented.collect::<BTreeSet<_>>(), known);
    }
}
