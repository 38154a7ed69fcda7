//! A page of a long list: searched, sorted and cut here, so that a browser need not hold all of it.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::Serialize;

use crate::id::RoomId;

/// Rows of a page, unless the client wants more or fewer.
const SIZE: usize = 50;

/// The most rows of a page.
pub(super) const MAX_SIZE: usize = 200;

/// The query of a request.
pub(super) struct Query<'a>(pub(super) &'a str);

impl<'a> Query<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut parameters = form_urlencoded::parse(self.0.as_bytes());
        parameters
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    pub(super) fn room(&self, name: &str) -> Option<RoomId> {
        RoomId::new(&self.get(name)?).ok()
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }
}

/// One page.
#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    /// How many rows there are that were searched for, on all pages.
    pub(super) total: usize,
    /// Which this is, from 0.
    pub(super) number: usize,
    pub(super) pages: usize,
    pub(super) rows: Vec<T>,
}

/// How rows are compared by one of their members.
pub(super) type Order<T> = fn(&T, &T) -> Ordering;

/// The rows that are wanted. `orders`: by what they can be sorted, the first of them unless the query
/// says otherwise.
pub(super) fn page<T>(
    mut rows: Vec<T>,
    query: &Query<'_>,
    matches: impl Fn(&T, &str) -> bool,
    orders: &[(&str, Order<T>)],
) -> Page<T> {
    if let Some(search) = query.get("search").filter(|search| !search.is_empty()) {
        let search = search.to_lowercase();
        rows.retain(|row| matches(row, &search));
    }
    let sort = query.get("sort");
    let named = orders
        .iter()
        .find(|(name, _)| sort.as_deref() == Some(name));
    if let Some((_, order)) = named.or(orders.first()) {
        match query.get("order").as_deref() {
            Some("desc") => rows.sort_by(|a, b| order(b, a)),
            _ => rows.sort_by(order),
        }
    }
    let size = query.number("size").unwrap_or(SIZE).clamp(1, MAX_SIZE);
    let total = rows.len();
    let pages = total.div_ceil(size).max(1);
    // Rows may have gone since the client has seen the last page.
    let page = query.number("page").unwrap_or(0).min(pages - 1);
    let rows = rows.into_iter().skip(page * size).take(size).collect();
    Page {
        total,
        number: page,
        pages,
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(query: &str) -> (usize, usize, usize, Vec<u32>) {
        let orders: [(&str, Order<u32>); 2] = [
            ("number", Ord::cmp),
            ("last", |a, b| (a % 10).cmp(&(b % 10))),
        ];
        let all = (0..120).rev().collect();
        let matches = |row: &u32, search: &str| row.to_string().contains(search);
        let page = page(all, &Query(query), matches, &orders);
        (page.total, page.number, page.pages, page.rows)
    }

    #[test]
    fn pages_are_cut_from_what_was_sought_and_sorted() {
        assert_eq!(rows(""), (120, 0, 3, (0..50).collect()));
        assert_eq!(rows("page=2"), (120, 2, 3, (100..120).collect()));
        assert_eq!(rows("page=9").1, 2, "the last that there is");
        assert_eq!(rows("order=desc&size=2"), (120, 0, 60, vec![119, 118]));
        assert_eq!(rows("search=11&size=3"), (11, 0, 4, vec![11, 110, 111]));
        assert_eq!(rows("sort=last&size=3").3, [110, 100, 90]);
        assert_eq!(rows("search=x"), (0, 0, 1, vec![]));
        assert_eq!(rows("size=0").3.len(), 1);
        assert_eq!(rows("size=100000").3.len(), 120);
        assert_eq!(rows("page=-1&size=x&sort=none&order=up"), rows(""));
    }
}
