//! The order of the layers, if it follows from their sizes.
//!
//! Sizes are the nodes of a graph, and each layer is an edge from its input size to its output size. An order in which
//! each output is the next input is an Eulerian path, which takes each edge once. It is found in linear time.
//!
//! A second path, if one exists, is also found in linear time. Any Eulerian path can be turned into any other by
//! swapping pairs of pieces that begin at the same size and end at the same size (Pevzner 1995). So a path is unique if
//! no such swap applies.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::error::Quoted;

/// The orders in which each layer's output is the next layer's input.
#[derive(Debug, PartialEq)]
pub(super) enum Orders {
    None,
    Only(Vec<usize>),
    /// Two of several.
    Several([Vec<usize>; 2]),
}

impl Orders {
    pub fn of(sizes: &[(usize, usize)]) -> Self {
        match path(sizes) {
            None => Self::None,
            Some(path) => match another(sizes, &path) {
                None => Self::Only(path),
                Some(other) => Self::Several([path, other]),
            },
        }
    }
}

/// Finds an Eulerian path by Hierholzer's algorithm. If there is a choice, the first layer in the list comes first.
fn path(sizes: &[(usize, usize)]) -> Option<Vec<usize>> {
    // For each size, the layers that begin there (in reverse order), and how many more begin there than end there.
    let mut from: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut surplus: BTreeMap<usize, isize> = BTreeMap::new();
    for (layer, &(input, output)) in sizes.iter().enumerate().rev() {
        from.entry(input).or_default().push(layer);
        *surplus.entry(input).or_default() += 1;
        *surplus.entry(output).or_default() -= 1;
    }
    let unequal: Vec<(usize, isize)> = surplus.into_iter().filter(|&(_, surplus)| surplus != 0).collect();
    let start = match *unequal {
        [] => sizes.first()?.0,
        [(start, 1), (_, -1)] | [(_, -1), (start, 1)] => start,
        _ => return None,
    };
    // Walks until it is stuck, and inserts detours on the way back.
    let mut way: Vec<(usize, Option<usize>)> = vec![(start, None)];
    let mut path = Vec::with_capacity(sizes.len());
    while let Some(&(at, by)) = way.last() {
        match from.get_mut(&at).and_then(Vec::pop) {
            Some(layer) => way.push((sizes[layer].1, Some(layer))),
            None => {
                way.pop();
                path.extend(by);
            }
        }
    }
    path.reverse();
    (path.len() == sizes.len()).then_some(path)
}

/// An order different from `path`, if there is one.
fn another(sizes: &[(usize, usize)], path: &[usize]) -> Option<Vec<usize>> {
    // The sizes along the path: the input of each layer, then the last output.
    let last = path.last().map(|&layer| sizes[layer].1);
    let way: Vec<usize> = path.iter().map(|&layer| sizes[layer].0).chain(last).collect();
    if path.len() > 1 && way.first() == way.last() {
        // A cycle may begin anywhere.
        return Some([&path[1..], &path[..1]].concat());
    }
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, &size) in way.iter().enumerate() {
        places.entry(size).or_default().push(place);
    }
    // Two loops from the same size can be swapped.
    if let Some(&[a, b, c, ..]) = places.values().map(Vec::as_slice).find(|places| places.len() > 2) {
        return Some([&path[..a], &path[b..c], &path[a..b], &path[c..]].concat());
    }
    // Two ways from one size to another can be swapped: the places of two sizes alternate, `x y x y`. If no sizes
    // alternate, visits are nested.
    let mut open = Vec::new();
    let mut crossing = None;
    for (place, size) in way.iter().enumerate() {
        match *places[size] {
            [first, _] if first == place => open.push(size),
            [a, c] => match open.pop() {
                Some(inner) if inner != size => {
                    // `inner` begins after `a` and ends after `c`.
                    let [b, d] = [places[inner][0], places[inner][1]];
                    crossing = Some([a, b, c, d]);
                    break;
                }
                _ => {}
            },
            _ => {}
        }
    }
    let [a, b, c, d] = crossing?;
    Some([&path[..a], &path[c..d], &path[b..c], &path[a..b], &path[d..]].concat())
}

/// Two orders as messages show them: all layers if they are few, otherwise those around the first difference.
pub(super) fn shown(orders: &[Vec<usize>; 2], names: &[&str]) -> [String; 2] {
    const MOST: usize = 12;
    let [a, b] = orders;
    let first = if a.len() <= MOST { 0 } else { a.iter().zip(b).take_while(|(a, b)| a == b).count().saturating_sub(1) };
    let first = first.min(a.len().saturating_sub(MOST));
    [a, b].map(|order| {
        let shown = &order[first..(first + MOST).min(order.len())];
        let names: Vec<String> = shown.iter().map(|&layer| format!("{}", Quoted(names[layer]))).collect();
        let before = if first > 0 { "... " } else { "" };
        let behind = if first + shown.len() < order.len() { " ..." } else { "" };
        format!("{before}{}{behind}", names.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    /// All orders, by exhaustive search.
    fn by_search(sizes: &[(usize, usize)], order: &mut Vec<usize>, found: &mut BTreeSet<Vec<usize>>) {
        if order.len() == sizes.len() {
            found.insert(order.clone());
            return;
        }
        for next in 0..sizes.len() {
            if order.last().is_none_or(|&last| sizes[last].1 == sizes[next].0) && !order.contains(&next) {
                order.push(next);
                by_search(sizes, order, found);
                order.pop();
            }
        }
    }

    fn assert_right(sizes: &[(usize, usize)]) -> usize {
        let mut all = BTreeSet::new();
        by_search(sizes, &mut Vec::new(), &mut all);
        match Orders::of(sizes) {
            Orders::None => assert!(all.is_empty(), "{sizes:?}"),
            Orders::Only(order) => assert!(all.len() == 1 && all.contains(&order), "{sizes:?}: {order:?} of {all:?}"),
            Orders::Several([a, b]) => {
                assert!(a != b && all.contains(&a) && all.contains(&b), "{sizes:?}: {a:?} and {b:?} of {all:?}");
            }
        }
        all.len().min(2)
    }

    #[test]
    fn the_only_order_that_fits_is_found() {
        assert_eq!(Orders::of(&[(30, 7), (10, 20), (20, 30)]), Orders::Only(vec![1, 2, 0]));
        assert_eq!(Orders::of(&[(4, 4)]), Orders::Only(vec![0]));
        // A square layer between others, and a size that recurs.
        assert_eq!(Orders::of(&[(4, 4), (5, 4), (4, 6)]), Orders::Only(vec![1, 0, 2]));
        assert_eq!(Orders::of(&[(8, 9), (3, 8), (9, 8), (8, 5)]), Orders::Only(vec![1, 0, 2, 3]));
    }

    #[test]
    fn layers_that_do_not_join_have_no_order() {
        assert_eq!(Orders::of(&[]), Orders::None);
        assert_eq!(Orders::of(&[(4, 5), (6, 7)]), Orders::None);
        // Two separate cycles, and a cycle apart from a path.
        assert_eq!(Orders::of(&[(1, 2), (2, 1), (3, 4), (4, 3)]), Orders::None);
        assert_eq!(Orders::of(&[(5, 6), (1, 2), (2, 1)]), Orders::None);
        assert_eq!(Orders::of(&[(1, 2), (1, 3)]), Orders::None);
    }

    #[test]
    fn an_ambiguous_order_comes_with_a_second_one() {
        let several = |sizes: &[(usize, usize)]| assert!(matches!(Orders::of(sizes), Orders::Several(_)), "{sizes:?}");
        several(&[(4, 4), (4, 4)]);
        several(&[(1, 2), (2, 1)]);
        // Equal layers with a way back between them; two detours; two loops.
        several(&[(0, 1), (1, 2), (2, 1), (1, 2), (2, 3)]);
        several(&[(0, 1), (1, 2), (2, 1), (1, 3), (3, 1), (1, 4)]);
        several(&[(0, 1), (1, 1), (1, 1), (1, 4)]);
    }

    /// Every graph of up to five layers over three sizes, and random ones of up to eight over up to five.
    #[test]
    fn orders_match_an_exhaustive_search() {
        let mut seen = [0; 3];
        let pair = |code: usize| (code / 3, code % 3);
        for layers in 1..=5 {
            for mut code in 0..9usize.pow(layers) {
                let mut sizes = Vec::new();
                for _ in 0..layers {
                    sizes.push(pair(code % 9));
                    code /= 9;
                }
                seen[assert_right(&sizes)] += 1;
            }
        }
        let mut random = 1u64;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % limit
        };
        for _ in 0..20_000 {
            let (layers, nodes) = (6 + below(3), 3 + below(3));
            // Layers along a path, so that an order exists, shuffled.
            let way: Vec<usize> = (0..=layers).map(|_| below(nodes)).collect();
            let mut sizes: Vec<_> = way.windows(2).map(|pair| (pair[0], pair[1])).collect();
            for i in (1..layers).rev() {
                sizes.swap(i, below(i + 1));
            }
            seen[assert_right(&sizes)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 500), "{seen:?}");
    }

    #[test]
    fn many_layers_take_no_time() {
        let chain: Vec<_> = (1..=100_000).rev().map(|size| (size, size + 1)).collect();
        assert_eq!(Orders::of(&chain), Orders::Only((0..100_000).rev().collect()));
        assert!(matches!(Orders::of(&vec![(7, 7); 100_000]), Orders::Several(_)));
        let mut broken = chain;
        broken.push((200_000, 200_001));
        assert_eq!(Orders::of(&broken), Orders::None);
    }

    #[test]
    fn orders_of_many_layers_are_shown_where_they_differ() {
        let names: Vec<String> = (0..100).map(|i| format!("l{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let a: Vec<usize> = (0..100).collect();
        let mut b = a.clone();
        b.swap(50, 51);
        let [a, b] = shown(&[a, b], &names);
        assert_eq!(a, "... l49 l50 l51 l52 l53 l54 l55 l56 l57 l58 l59 l60 ...");
        assert!(b.starts_with("... l49 l51 l50 l52"), "{b}");
        assert_eq!(shown(&[vec![0, 1], vec![1, 0]], &names), ["l0 l1", "l1 l0"]);
    }
}
