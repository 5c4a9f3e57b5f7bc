//! Hosts to tiers, tiers to routes (resources sheet §16.3, §16.4).

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::path_regex::CompiledRegex;
use super::path_trie::{NodeId, PathTrie, Taken};

/// What the table needs to know of one route. Its place in the slice given to [`RouteTable::build`] is its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteSpec {
    /// Lower-case names, `*.suffix` wildcards; empty = every host.
    pub hosts: Vec<String>,
    /// `/prefix`, `=/exact`, `~regex`; nothing = every path of the hosts.
    pub path: Option<String>,
}

/// How the routes of a table differ from those of the one before it.
#[derive(Debug, Default)]
pub struct RouteUpdate<'a> {
    /// By the numbers the routes had: those they have now, in the same order; anything for one that is removed.
    pub numbers: &'a [u32],
    /// With the numbers they had.
    pub removed: &'a [(u32, RouteSpec)],
    /// With the numbers they have now.
    pub added: &'a [(u32, RouteSpec)],
}

/// So few may always be left behind.
const LEFT_BEHIND_MAX: usize = 1000;

/// All routes of one configuration.
///
/// A clone shares the index and has regex scratch space of its own: give each core a clone, so that no two threads ever
/// meet in the regex crate's pool.
#[derive(Debug, Clone)]
pub struct RouteTable {
    index: Arc<Index>,
    /// The regex routes of all tiers, those of one tier together in document order.
    regexes: Box<[(u32, CompiledRegex)]>,
}

#[derive(Debug)]
struct Index {
    /// Shared with the tables that follow from this one.
    exact_hosts: FxHashMap<Arc<str>, u32>,
    /// By the text after `*.`.
    wildcard_hosts: FxHashMap<Arc<str>, u32>,
    catch_all: Option<u32>,
    tiers: Box<[Tier]>,
    paths: PathTrie,
    /// Routes taken out since the table was built anew: each may have left nodes and tiers behind that nothing leads to.
    left_behind: usize,
}

#[derive(Debug)]
struct Tier {
    root: NodeId,
    regexes: std::ops::Range<u32>,
    host_only: Option<u32>,
}

/// The route of a request.
#[derive(Debug, Clone, Copy)]
pub struct RouteMatch<'a> {
    /// The route's place in the slice the table was built from.
    pub route: u32,
    /// How much of the path `strip_listen_path` takes off.
    pub matched_len: usize,
    /// The pattern, when it was a regex route.
    pub regex: Option<&'a CompiledRegex>,
}

impl RouteMatch<'_> {
    /// Calls `visit` with each named path parameter of `path`. Routes without a regex have none, and cost nothing here.
    pub fn for_each_parameter<'p>(&self, path: &'p [u8], visit: impl FnMut(&str, &'p [u8])) {
        if let Some(regex) = self.regex {
            regex.for_each_parameter(path, visit);
        }
    }
}

impl RouteTable {
    /// Builds the table. A route that cannot be served is an error, not a silent loss: a broken regex, a path of no known
    /// form, no host and no path, a path that another route has on the same host.
    ///
    /// # Errors
    /// One line per refused route.
    pub fn build(routes: &[RouteSpec]) -> Result<Self, Vec<String>> {
        let mut builder = Builder::default();
        let mut errors = Vec::new();
        for (id, route) in routes.iter().enumerate() {
            let added = match u32::try_from(id) {
                Ok(id) if id < u32::MAX => builder.add(id, route),
                _ => Err(format!("a table holds at most {} routes", u32::MAX)),
            };
            errors.extend(added.err().map(|error| format!("routes[{id}]: {error}")));
        }
        if errors.is_empty() { Ok(builder.finish()) } else { Err(errors) }
    }

    /// The table with other routes, without what it costs to build it anew. None when so much has been taken out that building
    /// anew costs less in the long run.
    ///
    /// # Errors
    /// One line per refused route.
    pub fn updated(&self, update: &RouteUpdate<'_>) -> Option<Result<Self, Vec<String>>> {
        let left_behind = self.index.left_behind + update.removed.len();
        if left_behind > LEFT_BEHIND_MAX.max(update.numbers.len() / 4) {
            return None;
        }
        let mut builder = Builder::of(self);
        builder.left_behind = left_behind;
        for (id, route) in update.removed {
            builder.remove(*id, route);
        }
        builder.renumber(update.numbers);
        let errors: Vec<String> = update
            .added
            .iter()
            .filter_map(|(id, route)| builder.add(*id, route).err().map(|error| format!("routes[{id}]: {error}")))
            .collect();
        Some(if errors.is_empty() { Ok(builder.finish()) } else { Err(errors) })
    }

    /// The route for a host as [`normalize_host`](super::normalize_host) gives it (nothing = the request named none) and
    /// a path without its query.
    pub fn find(&self, host: Option<&str>, path: &[u8]) -> Option<RouteMatch<'_>> {
        let index = &*self.index;
        if let Some(host) = host {
            if let Some(&tier) = index.exact_hosts.get(host)
                && let Some(found) = self.find_in(tier, path)
            {
                return Some(found);
            }
            if !index.wildcard_hosts.is_empty()
                && let Some((label, suffix)) = host.split_once('.')
                && !label.is_empty()
                && let Some(&tier) = index.wildcard_hosts.get(suffix)
                && let Some(found) = self.find_in(tier, path)
            {
                return Some(found);
            }
        }
        self.find_in(index.catch_all?, path)
    }

    fn find_in(&self, tier: u32, path: &[u8]) -> Option<RouteMatch<'_>> {
        let tier = &self.index.tiers[tier as usize];
        if let Some((route, matched_len)) = self.index.paths.find(tier.root, path) {
            return Some(RouteMatch { route, matched_len, regex: None });
        }
        for (route, regex) in &self.regexes[tier.regexes.start as usize..tier.regexes.end as usize] {
            if let Some(matched_len) = regex.match_end(path) {
                return Some(RouteMatch { route: *route, matched_len, regex: Some(regex) });
            }
        }
        tier.host_only.map(|route| RouteMatch { route, matched_len: 0, regex: None })
    }

    /// Heap memory of the host and path index, without the compiled regexes (the regex crate does not tell theirs).
    pub fn heap_bytes(&self) -> usize {
        /// What stands before a shared text.
        const COUNTS_BYTES: usize = 2 * size_of::<usize>();
        let host_bytes = |hosts: &FxHashMap<Arc<str>, u32>| {
            // hashbrown: one control byte per slot, slots for 8/7 of the capacity
            let slots = hosts.capacity() * 8 / 7;
            slots * (size_of::<(Arc<str>, u32)>() + 1)
                + hosts.keys().map(|host| host.len() + COUNTS_BYTES).sum::<usize>()
        };
        let index = &*self.index;
        host_bytes(&index.exact_hosts)
            + host_bytes(&index.wildcard_hosts)
            + index.tiers.len() * size_of::<Tier>()
            + self.regexes.len() * size_of::<(u32, CompiledRegex)>()
            + index.paths.heap_bytes()
    }
}

#[derive(Default)]
struct Builder {
    exact_hosts: FxHashMap<Arc<str>, u32>,
    wildcard_hosts: FxHashMap<Arc<str>, u32>,
    catch_all: Option<u32>,
    tiers: Vec<BuildingTier>,
    paths: PathTrie,
    regexes: Vec<(u32, CompiledRegex)>,
    left_behind: usize,
}

struct BuildingTier {
    root: NodeId,
    /// Places in `Builder::regexes`: a route with several hosts stands in several tiers.
    regexes: Vec<usize>,
    host_only: Option<u32>,
}

impl Builder {
    fn of(table: &RouteTable) -> Self {
        let Index { exact_hosts, wildcard_hosts, catch_all, tiers, paths, left_behind } = &*table.index;
        let tier = |tier: &Tier| BuildingTier {
            root: tier.root,
            regexes: tier.regexes.clone().map(|place| place as usize).collect(),
            host_only: tier.host_only,
        };
        Self {
            exact_hosts: exact_hosts.clone(),
            wildcard_hosts: wildcard_hosts.clone(),
            catch_all: *catch_all,
            tiers: tiers.iter().map(tier).collect(),
            paths: paths.clone(),
            regexes: table.regexes.to_vec(),
            left_behind: *left_behind,
        }
    }

    fn remove(&mut self, id: u32, route: &RouteSpec) {
        for tier in self.tiers_of(&route.hosts) {
            let tier = &mut self.tiers[tier];
            match route.path.as_deref() {
                None => tier.host_only = tier.host_only.filter(|owner| *owner != id),
                Some(path) if path.starts_with("=/") => self.paths.remove_exact(tier.root, &path[1..]),
                Some(path) if path.starts_with('/') => self.paths.remove_prefix(tier.root, path),
                Some(_) => tier.regexes.retain(|place| self.regexes[*place].0 != id),
            }
        }
    }

    fn renumber(&mut self, numbers: &[u32]) {
        let new = |old: u32| numbers.get(old as usize).copied().unwrap_or(old);
        self.paths.renumber(new);
        for (route, _) in &mut self.regexes {
            *route = new(*route);
        }
        for tier in &mut self.tiers {
            tier.host_only = tier.host_only.map(new);
        }
    }

    fn add(&mut self, id: u32, route: &RouteSpec) -> Result<(), String> {
        let tiers = self.tiers_of(&route.hosts);
        let taken = |Taken(owner): Taken| format!("the path is already taken by routes[{owner}] on a common host");
        match route.path.as_deref() {
            None if route.hosts.is_empty() => return Err("a route needs a host or a path".into()),
            None => {
                for tier in tiers {
                    let owner = *self.tiers[tier].host_only.get_or_insert(id);
                    if owner != id {
                        return Err(taken(Taken(owner)));
                    }
                }
            }
            Some(path) if path.starts_with("=/") => {
                for tier in tiers {
                    self.paths.insert_exact(self.tiers[tier].root, &path[1..], id).map_err(taken)?;
                }
            }
            Some(path) if path.starts_with('/') => {
                for tier in tiers {
                    self.paths.insert_prefix(self.tiers[tier].root, path, id).map_err(taken)?;
                }
            }
            Some(path) => {
                let pattern = path.strip_prefix('~').filter(|pattern| !pattern.is_empty());
                let pattern =
                    pattern.ok_or_else(|| format!("path '{path}' is none of '/prefix', '=/exact', '~regex'"))?;
                let regex = CompiledRegex::new(pattern).map_err(|error| format!("path '{path}': {error}"))?;
                for tier in tiers {
                    self.tiers[tier].regexes.push(self.regexes.len());
                }
                self.regexes.push((id, regex));
            }
        }
        Ok(())
    }

    fn tiers_of(&mut self, hosts: &[String]) -> Vec<usize> {
        let Self { exact_hosts, wildcard_hosts, catch_all, tiers, paths, .. } = self;
        let mut new_tier = || {
            tiers.push(BuildingTier { root: paths.add_root(), regexes: Vec::new(), host_only: None });
            (tiers.len() - 1) as u32
        };
        if hosts.is_empty() {
            return vec![*catch_all.get_or_insert_with(new_tier) as usize];
        }
        let mut found: Vec<usize> = Vec::with_capacity(hosts.len());
        for host in hosts {
            let (hosts, name) = match host.strip_prefix("*.") {
                Some(suffix) => (&mut *wildcard_hosts, suffix),
                None => (&mut *exact_hosts, host.as_str()),
            };
            let tier = match hosts.get(name) {
                Some(&tier) => tier,
                None => *hosts.entry(name.into()).or_insert(new_tier()),
            };
            found.push(tier as usize);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn finish(mut self) -> RouteTable {
        self.paths.seal();
        self.exact_hosts.shrink_to_fit();
        self.wildcard_hosts.shrink_to_fit();
        let mut regexes = Vec::new();
        let mut tiers = Vec::with_capacity(self.tiers.len());
        for mut tier in self.tiers {
            // Document order decides between them.
            tier.regexes.sort_by_key(|place| self.regexes[*place].0);
            let start = regexes.len() as u32;
            // a clone shares the compiled program
            regexes.extend(tier.regexes.into_iter().map(|place| self.regexes[place].clone()));
            tiers.push(Tier { root: tier.root, regexes: start..regexes.len() as u32, host_only: tier.host_only });
        }
        let (exact_hosts, wildcard_hosts, catch_all) = (self.exact_hosts, self.wildcard_hosts, self.catch_all);
        let (tiers, paths, left_behind) = (tiers.into(), self.paths, self.left_behind);
        let index = Index { exact_hosts, wildcard_hosts, catch_all, tiers, paths, left_behind };
        RouteTable { index: Arc::new(index), regexes: regexes.into() }
    }
}

#[cfg(test)]
mod tests;
