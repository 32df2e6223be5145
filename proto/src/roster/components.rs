//! Strongly connected components.

/// The strongly connected components of a graph (Tarjan 1972): `edges[i]` are the nodes that i points to. A component comes
/// behind all those that it points to. Without recursion, as a hostile graph may be one long chain.
pub(super) fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search { edges, order: vec![None; edges.len()], low: vec![0; edges.len()], ..Search::default() };
    (0..edges.len()).for_each(|root| search.visit(root));
    search.found
}

#[derive(Default)]
struct Search<'a> {
    edges: &'a [Vec<usize>],
    /// When each node was first met.
    order: Vec<Option<usize>>,
    /// The earliest node on the stack that each can reach.
    low: Vec<usize>,
    met: usize,
    stack: Vec<usize>,
    done: std::collections::BTreeSet<usize>,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn visit(&mut self, root: usize) {
        if self.order[root].is_some() {
            return;
        }
        let mut path = vec![(self.enter(root), 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some(target) = self.edges[node].get(*next).copied() else {
                path.pop();
                self.leave(node, path.last().map(|(parent, _)| *parent));
                continue;
            };
            *next += 1;
            match self.order[target] {
                None => path.push((self.enter(target), 0)),
                Some(order) if !self.done.contains(&target) => self.low[node] = self.low[node].min(order),
                Some(_) => {}
            }
        }
    }

    fn enter(&mut self, node: usize) -> usize {
        self.order[node] = Some(self.met);
        self.low[node] = self.met;
        self.met += 1;
        self.stack.push(node);
        node
    }

    fn leave(&mut self, node: usize, parent: Option<usize>) {
        if let Some(parent) = parent {
            self.low[parent] = self.low[parent].min(self.low[node]);
        }
        if self.order[node] != Some(self.low[node]) {
            return;
        }
        let at = self.stack.iter().rposition(|member| *member == node).unwrap_or(0);
        let component = self.stack.split_off(at);
        self.done.extend(&component);
        self.found.push(component);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found_and_come_behind_what_they_point_to() {
        // 0 → 1 ⇄ 2 → 3, 4 on its own; 3 → 3.
        let mut found = components(&[vec![1], vec![2], vec![1, 3], vec![3], vec![]]);
        found.iter_mut().for_each(|component| component.sort_unstable());
        assert_eq!(found, [vec![3], vec![1, 2], vec![0], vec![4]]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let edges: Vec<Vec<usize>> =
            (0..100_000).map(|i| if i + 1 < 100_000 { vec![i + 1] } else { vec![0] }).collect();
        assert_eq!(components(&edges).len(), 1);
    }
}
