//! Reads what a path asks for.

use form_urlencoded::{byte_serialize, parse};

/// The number of endpoints on a page.
pub(crate) const PER_PAGE: usize = 100;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Overview,
    Service(&'a str),
    OverviewJson,
    ServiceJson(&'a str),
    Unknown,
}

impl<'a> Route<'a> {
    /// Reads a path below the mount point.
    pub(crate) fn of(path: &'a str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        match path.split_once('/') {
            None if path.is_empty() => Self::Overview,
            None if path == "json" => Self::OverviewJson,
            Some(("service", name)) if !name.is_empty() && !name.contains('/') => Self::Service(name),
            Some(("json", name)) if !name.is_empty() && !name.contains('/') => Self::ServiceJson(name),
            _ => Self::Unknown,
        }
    }
}

/// The part of a path after `?`. What is not valid counts as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The query of the service, for services that are asked for with several.
    pub(crate) query: Option<String>,
    /// The page of the endpoints, from 1.
    pub(crate) page: usize,
    /// Whether only the endpoints that are out are shown.
    pub(crate) only_out: bool,
    /// The seconds until the page is loaded again; 0 for never.
    pub(crate) refresh: u32,
}

impl View {
    pub(crate) fn of(parameters: &str) -> Self {
        let mut view = Self { page: 1, ..Self::default() };
        for (key, value) in parse(parameters.as_bytes()) {
            match &*key {
                "query" if !value.is_empty() => view.query = Some(value.into_owned()),
                "page" => view.page = value.parse().unwrap_or(1).max(1),
                "show" => view.only_out = value == "out",
                "refresh" => view.refresh = value.parse().unwrap_or(0).min(3_600),
                _ => {}
            }
        }
        view
    }

    /// Returns the address of a page with these parameters: `service/NAME`, or that of the overview.
    pub(crate) fn link(&self, path: &str) -> String {
        let mut parameters = Vec::new();
        if let Some(query) = &self.query {
            parameters.push(format!("query={}", byte_serialize(query.as_bytes()).collect::<String>()));
        }
        if self.page > 1 {
            parameters.push(format!("page={}", self.page));
        }
        if self.only_out {
            parameters.push("show=out".to_owned());
        }
        if self.refresh > 0 {
            parameters.push(format!("refresh={}", self.refresh));
        }
        if parameters.is_empty() { path.to_owned() } else { format!("{path}?{}", parameters.join("&")) }
    }
}

/// Returns the part of a list that a page shows, the number of that page and of all pages. A page after
/// the last one is the last one.
pub(crate) fn paged<T>(all: &[T], page: usize) -> (&[T], usize, usize) {
    let pages = all.len().div_ceil(PER_PAGE).max(1);
    let page = page.clamp(1, pages);
    let from = (page - 1) * PER_PAGE;
    (&all[from..all.len().min(from + PER_PAGE)], page, pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_page_or_unknown() {
        for (path, route) in [
            ("", Route::Overview),
            ("/", Route::Overview),
            ("/json", Route::OverviewJson),
            ("/service/users", Route::Service("users")),
            ("service/a.b-c_d", Route::Service("a.b-c_d")),
            ("/json/users", Route::ServiceJson("users")),
            ("/service/", Route::Unknown),
            ("/service/users/", Route::Unknown),
            ("/../etc/passwd", Route::Unknown),
            ("//", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn parameters_that_are_not_valid_count_as_not_given_and_links_keep_the_others() {
        assert_eq!(View::of("page=-1&show=%3Cb%3E&refresh=x&other=1&query="), View::of(""));
        assert_eq!(View::of("page=0").page, 1);
        assert_eq!(View::of("refresh=99999").refresh, 3_600);
        let view = View::of("query=tag%3Da%26b%22&page=3&show=out&refresh=5");
        let link = view.link("service/users");
        assert_eq!(link, "service/users?query=tag%3Da%26b%22&page=3&show=out&refresh=5");
        assert_eq!(View::of(link.split_once('?').expect("parameters").1), view);
    }

    #[test]
    fn pages_are_bounded_and_one_after_the_last_is_the_last() {
        let all: Vec<_> = (0..250).collect();
        assert_eq!(paged(&all, 1), (&all[..100], 1, 3));
        assert_eq!(paged(&all, usize::MAX), (&all[200..], 3, 3));
        assert_eq!(paged::<u8>(&[], 7), (&[][..], 1, 1));
    }
}
